package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
	"syscall"

	"github.com/gantryrun/gantry/network/audit"
)

// CheckNetwork has stage1 look at the host's network, and with repair put back what somebody has taken away.
func (r *Runtime) CheckNetwork(ctx context.Context, repair bool) (*audit.Report, error) {
	req := audit.Request{Version: audit.Version, Repair: repair, PluginDirs: r.Networks.PluginDirs}
	entries, err := r.Networks.List()
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Err != nil {
			continue // network list says so
		}
		conflist, err := e.Conflist()
		if err != nil {
			return nil, fmt.Errorf("network %q: %w", e.Name, err)
		}
		req.Networks = append(req.Networks, audit.Network{Name: e.Name, Conflist: conflist})
	}
	out, err := r.askStage1(ctx, "check-network", req)
	if err != nil {
		return nil, fmt.Errorf("check network: %w", err)
	}
	var rep audit.Report
	if err := json.Unmarshal(out, &rep); err != nil {
		return nil, fmt.Errorf("check network: read what gantry-stage1 found: %w", err)
	}
	return &rep, nil
}

// collectNetworks has stage1 run CNI's GC of the networks that gantry alone owns. Most hosts have none that needs it.
func (r *Runtime) collectNetworks(ctx context.Context) error {
	entries, err := r.Networks.List()
	if err != nil {
		return err
	}
	req := audit.Request{Version: audit.Version, PluginDirs: r.Networks.PluginDirs}
	for _, e := range entries {
		if e.Err != nil || !e.Collectable() {
			continue
		}
		conflist, err := e.Conflist()
		if err != nil {
			return fmt.Errorf("network %q: %w", e.Name, err)
		}
		req.Networks = append(req.Networks, audit.Network{Name: e.Name, Conflist: conflist})
	}
	if req.Networks == nil {
		return nil
	}
	_, err = r.askStage1(ctx, "collect-network", req)
	return err
}

// askStage1 runs a verb of stage1 that takes a request on its standard input, and gives what it prints.
func (r *Runtime) askStage1(ctx context.Context, verb string, req audit.Request) ([]byte, error) {
	argv, err := r.stage1(verb, r.Dir)
	if err != nil {
		return nil, err
	}
	in, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Environ(), bytes.NewReader(in), &stdout, &stderr
	if err := runBound(cmd); err != nil {
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// runBound runs stage1 for a command of ours, to be killed with it: else it would go on behind the next one's back, perhaps for as long as
// a plugin hangs, and with locks that pods wait for. What it leaves half done is done again by the next gc or check.
func runBound(cmd *exec.Cmd) error {
	goruntime.LockOSThread() // the kernel kills it when the thread ends that started it
	defer goruntime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}
