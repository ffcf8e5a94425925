package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gantryrun/gantry/runtime"
)

func newRunPreparedCommand(e *env) *cobra.Command {
	var uuidFile string
	var detach, interactive bool
	cmd := verb("run-prepared [flags] POD", "Run a pod that was prepared", nil)
	o := &podOptions{}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		over, err := o.override(cmd.Flags())
		if err != nil {
			return err
		}
		return runPrepared(cmd.Context(), e, args, uuidFile, detach, over)
	}
	fs := cmd.Flags()
	addUUIDFile(fs, &uuidFile)
	fs.BoolVarP(&detach, "detach", "d", false, "leave the pod running and print its UUID")
	fs.BoolVarP(&interactive, "interactive", "i", false, "accepted: an app in the foreground has the caller's terminal")
	o.addNetFlags(fs)
	noMetadataVar(fs)
	return cmd
}

func runPrepared(ctx context.Context, e *env, args []string, uuidFile string, detach bool, over *runtime.Override) error {
	if err := needHost(); err != nil {
		return err
	}
	r, err := e.runtime()
	if err != nil {
		return err
	}
	pod, err := openPod(r.Pods(), args, uuidFile)
	if err != nil {
		return err
	}
	p, err := r.TakePrepared(ctx, pod)
	if err != nil {
		return err
	}
	if over != nil {
		if err := r.Override(p, *over); err != nil {
			return errors.Join(err, p.Release())
		}
	}
	if !detach {
		return errors.Join(r.Exec(p), p.Release()) // it stays prepared
	}
	return started(e, p.UUID, detachPod(ctx, e, r, p, unitOptions{}, (*runtime.Prepared).Release))
}

// override is what the flags say anew of a prepared pod; nil: nothing.
func (o *podOptions) override(fs *pflag.FlagSet) (*runtime.Override, error) {
	changed := func(names string) bool { return slices.ContainsFunc(strings.Fields(names), fs.Changed) }
	if !changed("net network ipc hostname dns dns-search dns-opt dns-option dns-domain hosts-entry add-host") {
		return nil, nil
	}
	req, err := o.request(nil, insecure{})
	if err != nil {
		return nil, err
	}
	over := &runtime.Override{Hostname: req.Hostname, Hosts: req.Hosts, HostsFile: req.HostsFile}
	if !req.NetUnasked {
		over.Net = &req.Net
	}
	if changed("dns dns-search dns-opt dns-option dns-domain") {
		over.DNS = &req.DNS
	}
	switch {
	case req.HostIPC:
		over.IPC = "host"
	case req.PrivateIPC:
		over.IPC = "private"
	}
	return over, nil
}
