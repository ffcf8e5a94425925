package conf

import (
	_ "embed"
	"fmt"
	"slices"

	"github.com/containernetworking/cni/libcni"
)

// The plugin types that gantry implements itself and runs in process. Their names are gantry's own, so that a conflist
// that names ptp, portmap or host-local always gets the programs of containernetworking/plugins.
const (
	TypePTP     = "gantry-ptp"     // routed veth pair; takes the configuration of ptp
	TypePortmap = "gantry-portmap" // published ports; takes the configuration of portmap
	TypeLeases  = "gantry-leases"  // IPAM; takes the configuration of host-local
)

// Builtin says whether gantry implements a plugin type itself.
func Builtin(plugin string) bool {
	return plugin == TypePTP || plugin == TypePortmap || plugin == TypeLeases
}

// Executes says whether a chain has a plugin that gantry does not implement itself.
func Executes(l *libcni.NetworkConfigList) bool {
	return slices.ContainsFunc(l.Plugins, func(p *libcni.PluginConfig) bool {
		ipam := p.Network.IPAM.Type
		return !Builtin(p.Network.Type) || ipam != "" && !Builtin(ipam)
	})
}

//go:embed default.conflist
var defaultConflist []byte

//go:embed default-restricted.conflist
var restrictedConflist []byte

// builtins gives the networks that exist without any file.
func builtins() []Entry {
	var all []Entry
	for _, data := range [][]byte{defaultConflist, restrictedConflist} {
		e, err := parse(data, "")
		if err != nil {
			panic(fmt.Sprintf("built-in network: %v", err)) // a test parses both
		}
		all = append(all, e)
	}
	return all
}
