package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime"
	"github.com/gantryrun/gantry/runtime/systemd"
)

const runUse = "[pod flags] IMAGE [app flags] [-- ARG... ---] [IMAGE ...]"

func newRunCommand(e *env) *cobra.Command {
	o := &podOptions{}
	cmd := &cobra.Command{
		Use: "run " + runUse, Short: "Run a pod",
		Long:               "Fetch what is missing, prepare a pod of the images and run it in place of this process.\nThe exit code is the app's own; of several apps, that of the first that failed.",
		DisableFlagParsing: true, DisableFlagsInUseLine: true,
	}
	o.addFlags(cmd.Flags())
	e.addRollback(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req, err := podRequest(cmd, e, o, args)
		if err != nil || req == nil {
			return err
		}
		return runPod(cmd.Context(), e, o, req)
	}
	cmd.SetUsageFunc(runUsage)
	return cmd
}

func newPrepareCommand(e *env) *cobra.Command {
	o := &podOptions{}
	cmd := &cobra.Command{
		Use: "prepare " + runUse, Short: "Prepare a pod for run-prepared, and print its UUID",
		DisableFlagParsing: true, DisableFlagsInUseLine: true,
	}
	o.addFlags(cmd.Flags())
	e.addRollback(cmd.Flags())
	var quiet bool
	cmd.Flags().BoolVar(&quiet, "quiet", false, "accepted: only the UUID is printed anyway")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req, err := podRequest(cmd, e, o, args)
		if err != nil || req == nil {
			return err
		}
		return preparePod(cmd.Context(), e, o, req)
	}
	cmd.SetUsageFunc(runUsage)
	return cmd
}

// podRequest parses the line. A nil request without an error: help was asked for, and given.
func podRequest(cmd *cobra.Command, e *env, o *podOptions, args []string) (*runtime.Request, error) {
	if asksHelp(args) {
		return nil, cmd.Help()
	}
	fs := pflag.NewFlagSet("pod", pflag.ContinueOnError)
	fs.AddFlagSet(cmd.Flags())
	fs.AddFlagSet(cmd.InheritedFlags())
	line, err := parseRunLine(args, fs, newAppFlags)
	if err != nil {
		return nil, err
	}
	o.words = line.words
	if err := e.check(); err != nil { // flags among ours may be global ones
		return nil, err
	}
	o.apps = line.apps
	if o.manifest != "" {
		if o.apps, err = o.readManifest(fs, line.apps); err != nil {
			return nil, err
		}
	}
	return o.request(o.apps, e.insecure)
}

// asksHelp finds --help before the first image's arguments.
func asksHelp(args []string) bool {
	for _, a := range args {
		switch a {
		case "--":
			return false
		case "--help":
			return true
		}
	}
	return len(args) == 1 && args[0] == "-h"
}

func runPod(ctx context.Context, e *env, o *podOptions, req *runtime.Request) error {
	if o.unit.asked() && !o.detach {
		return usagef("--slice and --property are for --detach: a unit says Slice=, and the property itself")
	}
	req.Handed = o.detach && systemd.Booted() // a unit's process takes the pod from us, as run-prepared does
	req.Run, req.Becomes = !req.Handed, !o.detach
	r, p, err := prepare(ctx, e, o, req)
	if err != nil {
		return err
	}
	// From here on nothing of us is left but an error.
	switch err := ctx.Err(); {
	case err != nil:
		return errors.Join(err, r.Drop(p))
	case o.detach:
		return started(e, p.UUID, detachPod(ctx, e, r, p, o.unit, r.Drop))
	}
	return errors.Join(r.Exec(p), r.Drop(p))
}

// started says how the start of a detached pod went. What stage1 could not start stays, with its reason, for status.
func started(e *env, uuid string, err error) error {
	var failed *runtime.StartError
	switch {
	case err == nil:
		if _, err := fmt.Fprintln(e.stdout, uuid); err != nil { // who is not told of it cannot stop it
			return withHint(fmt.Errorf("%w: pod %s runs", err, uuid), "gantry stop %s", uuid)
		}
		return nil
	case !errors.As(err, &failed) || failed.Code == 0 || failed.Code == exitGantry:
		return err
	}
	fmt.Fprintf(e.stderr, "gantry: run: %s\n", oneLine(failed.Message))
	return exitCode(failed.Code)
}

func preparePod(ctx context.Context, e *env, o *podOptions, req *runtime.Request) error {
	if o.detach || o.unit.asked() {
		return usagef("--detach, --slice and --property: prepare runs nothing")
	}
	req.Durable = true
	r, p, err := prepare(ctx, e, o, req)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(e.stdout, p.UUID); err != nil { // nobody knows the pod
		return errors.Join(err, r.Drop(p))
	}
	return p.Release()
}

func prepare(ctx context.Context, e *env, o *podOptions, req *runtime.Request) (*runtime.Runtime, *runtime.Prepared, error) {
	if err := needHost(); err != nil {
		return nil, nil, err
	}
	r, err := e.runtime()
	if err != nil {
		return nil, nil, err
	}
	if o.uuidFile != "" {
		req.UUID = pods.NewUUID()
		if err := runtime.WriteUUIDFile(o.uuidFile, req.UUID); err != nil {
			return nil, nil, fmt.Errorf("--uuid-file-save: %w", err)
		}
	}
	if err := o.setStage1Path(r); err != nil {
		return nil, nil, err
	}
	p, err := r.Prepare(ctx, req)
	if err != nil {
		return nil, nil, argumentHint(err, o.apps)
	}
	return r, p, nil
}

// setStage1Path has the pod run by the programs in the directory that was asked for.
func (o *podOptions) setStage1Path(r *runtime.Runtime) error {
	switch {
	case o.stage1Path == "":
		return nil
	case !o.req.Run:
		return usagef("--stage1-path is for a pod that is run at once: for others say it in a file of stage1.d")
	}
	dir, err := filepath.Abs(o.stage1Path)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "gantry-stage1")); err != nil {
		return usagef("--stage1-path: %w", err)
	}
	r.Programs.Dir = dir
	return nil
}

// runUsage lists the flags of pods and of apps.
func runUsage(cmd *cobra.Command) error {
	app, _ := newAppFlags()
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "Usage:\n  %s\n\nFlags of the pod:\n%s\nFlags of an app, after its image:\n%s\nGlobal flags:\n%s",
		cmd.UseLine(), cmd.LocalFlags().FlagUsages(), app.FlagUsages(), cmd.InheritedFlags().FlagUsages())
	return nil
}

func addUUIDFile(fs *pflag.FlagSet, dst *string) {
	fs.StringVar(dst, "uuid-file", "", "`FILE` that --uuid-file-save wrote: the pod's UUID")
}
