package network

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/gantryrun/gantry/network/conf"
)

// Attached is an attachment as the host's register has it.
type Attached struct {
	Attachment
	// NetNS is the path that Attach was given. It means something only as long as the process in it is the pod's supervisor.
	NetNS string
}

// Register lists every attachment of this host, of pods of whatever data directory: libcni's results, which are of the host.
// An Attach that is under way is not in it yet, nor is one that was killed; a damaged entry is left out.
func (h *Host) Register() ([]Attached, error) {
	all, err := h.cni(nil).GetCachedAttachments("")
	if err != nil {
		return nil, fmt.Errorf("read register of attachments: %w", err)
	}
	var out []Attached
	for _, n := range all {
		a := Attached{Attachment{PodID: n.ContainerID, Network: n.Network, IfName: n.IfName, Args: n.CniArgs, Conflist: n.Config}, n.NetNS}
		if a.Ports, err = portsOf(n.CapabilityArgs["portMappings"]); err == nil {
			out = append(out, a)
		}
	}
	return out, nil
}

// portsOf reads what portMappings wrote.
func portsOf(arg any) ([]conf.PortMapping, error) {
	if arg == nil {
		return nil, nil
	}
	data, err := json.Marshal(arg)
	if err != nil {
		return nil, err
	}
	var maps []portMapping
	if err := json.Unmarshal(data, &maps); err != nil {
		return nil, err
	}
	out := make([]conf.PortMapping, len(maps))
	for i, m := range maps {
		out[i] = conf.PortMapping{HostPort: uint16(m.HostPort), ContainerPort: uint16(m.ContainerPort), Protocol: m.Protocol}
		if m.HostIP != "" {
			if out[i].HostIP, err = netip.ParseAddr(m.HostIP); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
