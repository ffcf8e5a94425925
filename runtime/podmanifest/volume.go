package podmanifest

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/gantryrun/gantry/image/appc"
	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime/bundle"
)

type volume struct {
	Name      string  `json:"name"`
	Kind      string  `json:"kind"`
	Source    string  `json:"source"`
	ReadOnly  bool    `json:"readOnly"`
	Recursive *bool   `json:"recursive"`
	Mode      *string `json:"mode"`
	UID       *int64  `json:"uid"`
	GID       *int64  `json:"gid"`
}

// volume is what --volume would make of it. (appc's default is not recursive; rkt's was.)
func (v *volume) volume() (bundle.Volume, error) {
	if err := pods.CheckName(v.Name); err != nil {
		return bundle.Volume{}, fmt.Errorf("volume %w", err)
	}
	keys := [][2]string{{"kind", v.Kind}, {"readOnly", strconv.FormatBool(v.ReadOnly)}}
	if v.Source != "" {
		keys = append(keys, [2]string{"source", v.Source})
	}
	if v.Recursive != nil && v.Kind == bundle.KindHost {
		keys = append(keys, [2]string{"recursive", strconv.FormatBool(*v.Recursive)})
	}
	if v.Mode != nil {
		keys = append(keys, [2]string{"mode", *v.Mode})
	}
	if v.UID != nil {
		keys = append(keys, [2]string{"uid", strconv.FormatInt(*v.UID, 10)})
	}
	if v.GID != nil {
		keys = append(keys, [2]string{"gid", strconv.FormatInt(*v.GID, 10)})
	}
	return bundle.NewVolume(v.Name, keys)
}

type port struct {
	Name     string     `json:"name"`
	HostPort uint       `json:"hostPort"`
	HostIP   string     `json:"hostIP"`
	PodPort  *appc.Port `json:"podPort"`
}

func (p *port) mapping() (conf.PortMapping, error) {
	text := strconv.FormatUint(uint64(p.HostPort), 10)
	if p.HostIP != "" {
		ip, err := netip.ParseAddr(p.HostIP)
		if err != nil {
			return conf.PortMapping{}, fmt.Errorf("port %q: hostIP %q is no address", p.Name, p.HostIP)
		}
		if text = ip.String() + ":" + text; ip.Is6() {
			text = "[" + ip.String() + "]:" + strconv.FormatUint(uint64(p.HostPort), 10)
		}
	}
	if p.PodPort != nil {
		return conf.ParsePort(fmt.Sprintf("%s:%d/%s", text, p.PodPort.Port, p.PodPort.Protocol))
	}
	return conf.ParsePort(p.Name + ":" + text)
}
