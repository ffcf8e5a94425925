package bundle

import (
	"fmt"

	"github.com/gantryrun/gantry/pods"
)

// checkMapped refuses a user or group that the pod's user namespace does not have.
func checkMapped(in Input) error {
	if !in.Pod.Users {
		return nil
	}
	for _, id := range append([]uint32{in.Identity.UID, in.Identity.GID}, in.Identity.Groups...) {
		if id >= pods.PrivateUsers {
			return fmt.Errorf("user or group %d: with --private-users there are %d of each, from 0", id, pods.PrivateUsers)
		}
	}
	return nil
}
