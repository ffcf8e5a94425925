package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime"
)

func newRestartCommand(e *env) *cobra.Command {
	var uuidFile string
	var apps []string
	cmd := verb("restart [flags] POD", "Stop a pod and run it again as a new pod, or restart an app inside its pod", nil)
	cmd.Long = "Stop a pod in order, and run a new pod of the same manifest, detached, under the same name; print its UUID.\n" +
		"The new pod has new files and empty volumes; the old one stays for logs and status until it is swept. (A pod that is a systemd unit is restarted by systemctl.)\n\n" +
		"With --app, stop that app and start it again inside the running pod, with the files that it has changed."
	addUUIDFile(cmd.Flags(), &uuidFile)
	listVar(cmd.Flags(), &apps, "app", "APP", "restart only this app, inside its pod", appName)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return runRestart(cmd.Context(), e, args, uuidFile, apps)
	}
	return cmd
}

func runRestart(ctx context.Context, e *env, args []string, uuidFile string, apps []string) error {
	return onPod(e, args, uuidFile, func(r *runtime.Runtime, pod *pods.Pod) error {
		for _, a := range apps {
			if err := r.RestartApp(ctx, pod, a); err != nil {
				return err
			}
		}
		if len(apps) > 0 {
			return nil
		}
		p, err := r.Again(ctx, pod)
		if err != nil {
			return err
		}
		return started(e, p.UUID, r.Start(ctx, p))
	})
}
