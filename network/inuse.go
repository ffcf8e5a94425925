package network

import (
	"errors"
	"fmt"

	"github.com/gantryrun/gantry/network/lease"
	"github.com/gantryrun/gantry/network/rules"
)

// InUseError says that what a pod asks for by name, a published port or an address, belongs to another pod. Whether that
// one is alive is not known here. Only the built-in plugins tell; an executed one's refusal is any other error.
type InUseError struct {
	PodID string
	What  string // as in "port 0.0.0.0:80/tcp", "address 172.16.28.2"
	err   error
}

func (e *InUseError) Error() string { return fmt.Sprintf("%s belongs to pod %s", e.What, e.PodID) }
func (e *InUseError) Unwrap() error { return e.err }

// inUse makes an InUseError of an error that names an owner, and leaves any other as it is.
func inUse(err error) error {
	if port, ok := errors.AsType[*rules.TakenError](err); ok && port.Owner != "" {
		return &InUseError{PodID: port.Owner, What: "port " + port.Port, err: err}
	}
	if addr, ok := errors.AsType[*lease.TakenError](err); ok && addr.Owner != "" {
		return &InUseError{PodID: addr.Owner, What: "address " + addr.Addr.String(), err: err}
	}
	return err
}
