package runtime

import (
	"encoding/json"
	"slices"

	"github.com/gantryrun/gantry/image/appc"
	"github.com/gantryrun/gantry/pods"
)

// sockets are what the app takes of its unit's: those that the user names, and those that its image declares (socketActivated ports of
// appc, by their name), without which it runs too.
func sockets(a *AppRequest, labels map[string]string) []pods.Socket {
	var out []pods.Socket
	for _, name := range a.Sockets {
		out = append(out, pods.Socket{Name: name})
	}
	var ports []struct {
		Name            string
		SocketActivated bool
	}
	if text := labels[appc.LabelPorts]; text == "" || json.Unmarshal([]byte(text), &ports) != nil {
		return out // an image that was not an appc one may say there what it likes
	}
	for _, p := range ports {
		if p.SocketActivated && pods.CheckSocketName(p.Name) == nil && !slices.Contains(a.Sockets, p.Name) {
			out = append(out, pods.Socket{Name: p.Name, Optional: true})
		}
	}
	return out
}
