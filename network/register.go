package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Attached is an attachment as the host's register has it.
type Attached struct {
	Attachment
	// NetNS is the path that Attach was given. It means something only as long as the process in it is the pod's supervisor.
	NetNS string
}

// Abandoned says that the process that has made the attachment is gone, or has become another one: nobody will detach it but gc. One that has a
// network namespace at that descriptor is taken for it.
func (a Attached) Abandoned() bool {
	target, err := os.Readlink(a.NetNS)
	return errors.Is(err, fs.ErrNotExist) || err == nil && !strings.HasPrefix(target, "net:[")
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
		out = append(out, Attached{Attachment{
			PodID: n.ContainerID, Network: n.Network, IfName: n.IfName, Args: n.CniArgs, Conflist: n.Config, caps: n.CapabilityArgs,
		}, n.NetNS})
	}
	return out, nil
}
