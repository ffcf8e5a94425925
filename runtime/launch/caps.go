package launch

import (
	"fmt"
	"strings"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runc/libcontainer/configs"
)

// ownCapabilities are for an app that nothing confines: what this process has, where the app is root, and at most that for who becomes it.
// Not simply all that there are: root of a host that is itself a container lacks some, and the kernel refuses to hand on what one has not.
func ownCapabilities(uid uint32) (*configs.Capabilities, error) {
	own, err := capability.NewPid2(0)
	if err == nil {
		err = own.Load()
	}
	if err != nil {
		return nil, fmt.Errorf("read own capabilities: %w", err)
	}
	var names []string
	for _, c := range capability.ListKnown() {
		if own.Get(capability.PERMITTED, c) && own.Get(capability.BOUNDING, c) {
			names = append(names, "CAP_"+strings.ToUpper(c.String()))
		}
	}
	if uid != 0 {
		return &configs.Capabilities{Bounding: names}, nil
	}
	return &configs.Capabilities{Bounding: names, Effective: names, Permitted: names}, nil
}
