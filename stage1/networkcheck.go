package stage1

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gantryrun/gantry/network"
	"github.com/gantryrun/gantry/network/audit"
	"github.com/gantryrun/gantry/pods"
)

// CheckNetwork looks at the host's network and at what the pods have of it. Of pods of the data directory dir it is known which are
// alive: those are asked inside too; of others, what the built-in plugins have on the host.
func CheckNetwork(ctx context.Context, dir string, in io.Reader, out io.Writer) error {
	var req audit.Request
	if err := readRequest(in, &req); err != nil {
		return err
	}
	e := &network.Examination{Host: &network.Host{PluginDirs: req.PluginDirs}, Repair: req.Repair}
	attached, err := e.Host.Register()
	if err != nil {
		return err
	}
	if err := e.Look(attached); err != nil {
		return err
	}
	for _, n := range req.Networks {
		e.Status(ctx, n)
	}
	store := pods.In(dir)
	for _, a := range attached {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		checkAttached(ctx, e, store, a)
	}
	if err := e.Leftovers(); err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(e.Report)
}

func readRequest(in io.Reader, req *audit.Request) error {
	d := json.NewDecoder(in)
	d.DisallowUnknownFields()
	if err := d.Decode(req); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	if req.Version != audit.Version {
		return fmt.Errorf("read request: version %q is unknown", req.Version)
	}
	return nil
}

// checkAttached looks at one attachment, from where it can be seen.
func checkAttached(ctx context.Context, e *network.Examination, store *pods.Store, a network.Attached) {
	pod, err := pods.OpenDir(store.PodPath(a.PodID))
	if err != nil {
		if a.Abandoned() {
			e.Detach(ctx, a)
		} else {
			e.Check(ctx, a.Attachment, "") // of another data directory, or gone this moment
		}
		return
	}
	defer pod.Close()
	state, err := pod.State()
	switch {
	case err != nil:
		e.Report.Add(audit.Finding{Pod: a.PodID, IfName: a.IfName, Network: a.Network, What: "attachment", Found: err.Error()})
	case state == pods.Running && ofSupervisor(pod, a.NetNS):
		if m, err := pod.Manifest(); err == nil {
			h := *e.Host
			h.PluginDirs = m.PluginDirs
			e.CheckAt(ctx, &h, a.Attachment, a.NetNS)
		}
	case state.Over():
		e.Report.Add(audit.Finding{
			Pod: a.PodID, IfName: a.IfName, Network: a.Network, What: "attachment",
			Found: "the pod is over and still attached", Hint: "gantry gc",
		})
	}
}

// ofSupervisor says whether a path of the register is a descriptor of the supervisor that the pod has now: nobody else's
// process with the same PID.
func ofSupervisor(pod *pods.Pod, netns string) bool {
	run, err := pod.Run()
	if err != nil || !strings.HasPrefix(netns, fmt.Sprintf("/proc/%d/fd/", run.PID)) {
		return false
	}
	start, err := pods.ProcessStart(run.PID)
	return err == nil && start == run.StartTime && run.BootID == pods.BootID()
}

// CollectNetwork runs CNI's GC of networks that gantry alone owns. While a pod is being attached somewhere on the host it does
// nothing: the next gc comes. To what the host's register says is attached it adds the live pods of dir, in case somebody has lost it.
func CollectNetwork(ctx context.Context, dir string, in io.Reader) error {
	var req audit.Request
	if err := readRequest(in, &req); err != nil {
		return err
	}
	store := pods.In(dir)
	uuids, err := store.UUIDs()
	if err != nil {
		return err
	}
	var alive []network.Attachment
	for _, uuid := range uuids {
		pod, err := pods.OpenDir(store.PodPath(uuid))
		if err != nil {
			continue // gone
		}
		if state, err := pod.State(); err != nil || !state.Over() {
			if m, err := pod.Manifest(); err == nil {
				for _, n := range m.Networks {
					alive = append(alive, network.Attachment{PodID: uuid, Network: n.Name, IfName: n.IfName})
				}
			}
		}
		_ = pod.Close()
	}
	var conflists [][]byte
	for _, n := range req.Networks {
		conflists = append(conflists, n.Conflist)
	}
	err = (&network.Host{PluginDirs: req.PluginDirs}).Collect(ctx, conflists, alive)
	if errors.Is(err, network.ErrInUse) {
		return nil
	}
	return err
}
