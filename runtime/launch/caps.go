package launch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// ownCapabilities are for an app that nothing confines: what this process has, where the app is root, and at most that for who becomes it.
// Not simply all that there are: root of a host that is itself a container lacks some, and the kernel refuses to hand on what one has not.
func ownCapabilities(uid uint32) (*configs.Capabilities, error) {
	names, err := ownNames()
	if err != nil {
		return nil, err
	}
	if uid != 0 {
		return &configs.Capabilities{Bounding: names}, nil
	}
	return &configs.Capabilities{Bounding: names, Effective: names, Permitted: names}, nil
}

// newCapabilities converts the sets of an app that is confined. Who asks for every capability there is (--insecure-options=capabilities,
// --caps-retain=all), or all but some, gets those of them that can be handed on; who asks for one by name and cannot have it is refused. More than
// half of them nobody has named one by one.
func newCapabilities(c *specs.LinuxCapabilities) (*configs.Capabilities, error) {
	out := &configs.Capabilities{
		Bounding: c.Bounding, Effective: c.Effective, Inheritable: c.Inheritable, Permitted: c.Permitted, Ambient: c.Ambient,
	}
	if len(c.Bounding) <= len(capability.ListKnown())/2 {
		return out, nil
	}
	names, err := ownNames()
	if err != nil {
		return nil, err
	}
	for _, set := range []*[]string{&out.Bounding, &out.Effective, &out.Inheritable, &out.Permitted, &out.Ambient} {
		*set = slices.DeleteFunc(slices.Clone(*set), func(name string) bool { return !slices.Contains(names, name) })
	}
	return out, nil
}

// ownNames are the capabilities that this process has and may hand on.
func ownNames() ([]string, error) {
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
	return names, nil
}
