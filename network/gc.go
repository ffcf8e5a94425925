package network

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// gcTimeout bounds each plugin's GC: pods that are to be attached wait meanwhile, as they would not be valid attachments.
const gcTimeout = 10 * time.Second

// Collect runs CNI's GC of networks: their plugins drop what belongs to no attachment any more. The caller has to own them alone: what
// another runtime has attached would be dropped too. Every attachment in the register is valid, of whatever data directory, and so are those
// in also; a dead pod's is, until it was detached by its own configuration. Nothing is collected while a pod is being attached
// anywhere on the host, as it is not in the register yet: then it is ErrInUse. Configurations before 1.1.0 have no GC.
func (h *Host) Collect(ctx context.Context, conflists [][]byte, also []Attachment) error {
	release, err := h.ownHost()
	if err != nil {
		return fmt.Errorf("collect garbage of networks: %w", err)
	}
	defer release()
	known, err := h.Register()
	if err != nil {
		return err
	}
	for _, a := range also {
		known = append(known, Attached{Attachment: a})
	}
	own := *h
	own.Timeout = min(h.timeout(), gcTimeout)
	var errs []error
	for _, conflist := range conflists {
		list, err := libcni.NetworkConfFromBytes(conflist)
		if err != nil {
			errs = append(errs, fmt.Errorf("read conflist: %w", err))
			continue
		}
		var valid []types.GCAttachment
		for _, a := range known {
			if a.Network == list.Name {
				valid = append(valid, types.GCAttachment{ContainerID: a.PodID, IfName: a.IfName})
			}
		}
		// libcni would DEL what is in its cache and not valid: there is nothing.
		if err := own.cni(&pluginExec{host: &own, list: list}).GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: valid}); err != nil {
			errs = append(errs, fmt.Errorf("collect garbage of network %q: %w", list.Name, err))
		}
	}
	return errors.Join(errs...)
}
