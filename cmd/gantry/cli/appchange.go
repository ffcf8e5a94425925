package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime"
)

// newAppSandboxCommand is run without an image.
func newAppSandboxCommand(e *env) *cobra.Command {
	o := &podOptions{}
	cmd := verb("sandbox [pod flags]", "Run a pod without apps, which stays, to add apps to", between(0, 0))
	cmd.Long = "Run a pod that has its networks, volumes and namespaces, and no app. It stays until it is stopped, whatever the apps do that are added to it."
	o.addFlags(cmd.Flags())
	alias(cmd.Flags(), "user-annotation", "", "annotation") // rkt had two kinds
	alias(cmd.Flags(), "user-label", "", "label")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.manifest != "" {
			return usagef("--pod-manifest: a sandbox has no apps: gantry run --pod-manifest=FILE runs a pod")
		}
		req, err := o.request(nil, e.insecure)
		if err != nil {
			return err
		}
		req.Sandbox = true
		return runPod(cmd.Context(), e, o, req)
	}
	return cmd
}

type appAddOptions struct {
	uuidFile string
	pull     runtime.PullPolicy
}

func newAppAddCommand(e *env) *cobra.Command {
	o := &appAddOptions{}
	cmd := verb("add [--uuid-file=FILE] [--pull-policy=P] POD IMAGE [app flags] [-- ARG...]", "Add an app to a running pod, and print its name", nil)
	cmd.Long = "Add an app to a running pod. It is started by gantry app start. It can mount the pod's volumes, and has its own with -v."
	cmd.DisableFlagParsing = true
	fs := cmd.Flags()
	addUUIDFile(fs, &o.uuidFile)
	pullVar(fs, &o.pull, runtime.PullNew)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if asksHelp(args) {
			return cmd.Help()
		}
		return runAppAdd(cmd, e, o, args)
	}
	cmd.SetUsageFunc(func(cmd *cobra.Command) error {
		app, _ := newAppFlags()
		fmt.Fprintf(cmd.OutOrStdout(), "Usage:\n  %s\n\nFlags before the pod:\n%s\nFlags after the image:\n%s", cmd.UseLine(), cmd.LocalFlags().FlagUsages(), app.FlagUsages())
		return nil
	})
	return cmd
}

func runAppAdd(cmd *cobra.Command, e *env, o *appAddOptions, args []string) error {
	fs := pflag.NewFlagSet("pod", pflag.ContinueOnError)
	fs.AddFlagSet(cmd.Flags())
	fs.AddFlagSet(cmd.InheritedFlags())
	line, which, err := cutPod(args)
	if err != nil {
		return err
	}
	parsed, err := parseRunLine(line, fs, newAppFlags)
	if err != nil {
		return err
	}
	apps := parsed.apps
	if err := e.check(); err != nil { // flags among ours may be global ones
		return err
	}
	if len(apps) != 1 {
		return usagef("want one image: gantry app add POD IMAGE [app flags]")
	}
	req := &runtime.Request{Pull: o.pull}
	app, err := apps[0].request(req)
	if err != nil {
		return err
	}
	req.Apps = []runtime.AppRequest{app}
	return onPod(e, which, o.uuidFile, func(r *runtime.Runtime, pod *pods.Pod) error {
		name, err := r.AddApp(cmd.Context(), pod, req)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(e.stdout, name)
		return err
	})
}

// cutPod takes the pod out of the line: its first word that is no flag, where no --uuid-file names it.
func cutPod(args []string) (line, which []string, err error) {
	for i, a := range args {
		switch {
		case strings.HasPrefix(a, "--uuid-file="):
			return args, nil, nil
		case a == "--uuid-file", a == "--pull-policy", a == "--":
			return nil, nil, usagef("write %s=VALUE", a)
		case !strings.HasPrefix(a, "-"):
			return append(args[:i:i], args[i+1:]...), []string{a}, nil
		}
	}
	return nil, nil, usagef("want a pod and an image: gantry app add POD IMAGE [app flags]")
}

type changeApp func(ctx context.Context, r *runtime.Runtime, pod *pods.Pod, app string) error

func startApp(ctx context.Context, r *runtime.Runtime, pod *pods.Pod, app string) error {
	return r.ChangeApp(ctx, pod, pods.ControlStart, app)
}

func stopApp(ctx context.Context, r *runtime.Runtime, pod *pods.Pod, app string) error {
	return r.ChangeApp(ctx, pod, pods.ControlStop, app)
}

func removeApp(ctx context.Context, r *runtime.Runtime, pod *pods.Pod, app string) error {
	return r.RemoveApp(ctx, pod, app)
}

func newAppChangeCommand(e *env, name, short string, change changeApp) *cobra.Command {
	var uuidFile string
	var apps []string
	cmd := verb(name+" [flags] --app=APP POD", short, nil)
	addUUIDFile(cmd.Flags(), &uuidFile)
	listVar(cmd.Flags(), &apps, "app", "APP", "which app; may be repeated", appName)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(apps) == 0 {
			return usagef("which app? say --app=NAME")
		}
		return onPod(e, args, uuidFile, func(r *runtime.Runtime, pod *pods.Pod) error {
			for _, a := range apps {
				if err := change(cmd.Context(), r, pod, a); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}
