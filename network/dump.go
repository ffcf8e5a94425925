package network

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// dumps bounds how often a list is asked for again.
const dumps = 20

// whole asks the kernel for a list until nobody changes it meanwhile: where pods come and go, what has been there all the time may be missing in one that
// was interrupted. On a host that never rests the last answer has to do.
func whole[T any](dump func() ([]T, error)) ([]T, error) {
	for range dumps {
		if all, err := dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	all, err := dump()
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = nil
	}
	return all, err
}
