package runtime

import (
	"fmt"
	"os"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// checkFlavour completes a request by what its flavour is, and refuses what that cannot do: nothing that was asked for is left out in silence.
func (req *Request) checkFlavour() error {
	switch req.Stage1 {
	case pods.Stage1Default:
		return nil
	case pods.Stage1Chroot:
	default:
		return fmt.Errorf("stage1 %q: there are %s and %s", req.Stage1, pods.Stage1Default, pods.Stage1Chroot)
	}
	for _, f := range []struct {
		asked bool
		what  string
	}{
		{len(req.Apps) > 1, "several apps"},
		{req.Sandbox, "app sandbox"},
		{req.Net.Mode != conf.HostNet && !req.NetUnasked, "--net (it has the host's)"},
		{len(req.Ports) > 0, "--port"},
		{req.Hostname != "", "--hostname"},
		{req.Users, "--private-users"},
		{req.PrivateIPC, "--ipc=private"},
		{req.PID == pods.PIDApp, "--pid=app"},
	} {
		if f.asked {
			return fmt.Errorf("the flavour %s cannot do %s", req.Stage1, f.what)
		}
	}
	for _, a := range req.Apps {
		if what := confinement(a.App); what != "" {
			return fmt.Errorf("the flavour %s cannot do %s: it confines nothing", req.Stage1, what)
		}
	}
	req.PID, req.HostIPC, req.Net = pods.PIDHost, true, conf.Selection{Mode: conf.HostNet}
	for i := range req.Volumes { // as rkt's fly
		if v := &req.Volumes[i]; v.Kind == bundle.KindHost && v.Propagation == "" && !v.NonRecursive && isDir(v.Source) {
			v.Propagation = pods.PropagationShared
		}
	}
	var err error
	req.Hostname, err = os.Hostname()
	return err
}

// confinement is the first thing asked of an app that only a confined one has.
func confinement(a bundle.App) string {
	r, s := a.Resources, a.Seccomp
	for _, f := range []struct {
		asked bool
		flag  string
	}{
		{r.Memory != 0, "--memory"},
		{r.CPU != 0, "--cpu"},
		{r.CPUShares != 0, "--cpu-shares"},
		{r.PIDs != 0, "--pids"},
		{r.IOWeight != 0, "--io-weight"},
		{len(a.Caps.Retain) > 0, "--caps-retain"},
		{len(a.Caps.Remove) > 0, "--caps-remove"},
		{s.Profile != nil || len(s.Retain)+len(s.Remove)+len(s.Within) > 0, "--seccomp"},
		{len(a.Sysctls) > 0, "--sysctl"},
		{len(a.Devices) > 0, "--device (it has all)"},
		{len(a.Unmask) > 0, "--unmask (nothing is masked)"},
	} {
		if f.asked {
			return f.flag
		}
	}
	return ""
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
