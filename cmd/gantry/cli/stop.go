package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime"
	"github.com/gantryrun/gantry/runtime/bundle"
)

func newStopCommand(e *env) *cobra.Command {
	o := runtime.StopOptions{}
	var uuidFile string
	cmd := verb("stop [flags] POD...", "Stop pods, and wait until they are over", nil)
	fs := cmd.Flags()
	addUUIDFile(fs, &uuidFile)
	fs.BoolVar(&o.Force, "force", false, "kill at once")
	oneVar(fs, &o.Timeout, "timeout", "DURATION", "kill after this, 0: at once (default: each app's stop timeout)", func(s string) (time.Duration, error) {
		d, err := parseDuration(s)
		o.Force = o.Force || err == nil && d == 0
		return d, err
	})
	alias(fs, "time", "t", "timeout")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return runStop(cmd.Context(), e, o, args, uuidFile) }
	return cmd
}

// runStop stops all at the same time: a pod may take its time to drain.
func runStop(ctx context.Context, e *env, o runtime.StopOptions, args []string, uuidFile string) error {
	which, err := podArgs(args, uuidFile)
	if err != nil {
		return err
	}
	store, err := e.pods()
	if err != nil {
		return err
	}
	errs, stopped := make([]error, len(which)), make([]string, len(which))
	o.Warn = e.warn
	var wg sync.WaitGroup
	for i, w := range which {
		wg.Go(func() {
			pod, err := store.Open(w)
			if err == nil {
				stopped[i] = pod.UUID
				err = errors.Join(runtime.Stop(ctx, pod, o), pod.Close())
			}
			errs[i] = err
		})
	}
	wg.Wait()
	for i, uuid := range stopped {
		if errs[i] == nil {
			fmt.Fprintln(e.stdout, uuid)
		}
	}
	return errors.Join(errs...)
}

func newKillCommand(e *env) *cobra.Command {
	var uuidFile string
	var apps []string
	signal := "SIGKILL"
	cmd := verb("kill [flags] POD...", "Send a signal to the apps of pods", nil)
	fs := cmd.Flags()
	addUUIDFile(fs, &uuidFile)
	oneVar(fs, &signal, "signal", "SIGNAL", "name or number (default SIGKILL)", bundle.ParseSignal)
	alias(fs, "", "s", "signal")
	listVar(fs, &apps, "app", "APP", "only this app", appName)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		number := signalNumber(signal)
		return eachPod(e, args, uuidFile, func(_ *pods.Store, pod *pods.Pod) error { return runtime.Kill(pod, number, apps) })
	}
	return cmd
}

func signalNumber(name string) unix.Signal {
	var n int
	if _, err := fmt.Sscanf(name, "SIGRTMIN+%d", &n); err == nil {
		return unix.Signal(34 + n) // as glibc counts: 32 and 33 are its own
	}
	return unix.SignalNum(name)
}

func newRmCommand(e *env) *cobra.Command {
	var uuidFile string
	var force bool
	cmd := verb("rm [flags] POD...", "Remove pods that are over", nil)
	addUUIDFile(cmd.Flags(), &uuidFile)
	cmd.Flags().BoolVarP(&force, "force", "f", false, "kill a pod that is running first")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needHost(); err != nil {
			return err
		}
		r, err := e.runtime()
		if err != nil {
			return err
		}
		return eachPod(e, args, uuidFile, func(_ *pods.Store, pod *pods.Pod) error {
			err := r.Remove(cmd.Context(), pod, force)
			if state, _ := pod.State(); errors.Is(err, runtime.ErrState) && state.Live() && !force {
				return withHint(err, "gantry stop %s, or rm --force", pod.UUID)
			}
			if err == nil {
				fmt.Fprintln(e.stdout, pod.UUID)
			}
			return undoHint(err)
		})
	}
	return cmd
}

// undoHint says what there is to do about a pod that cannot be removed.
func undoHint(err error) error {
	if errors.Is(err, runtime.ErrUndo) && !strings.Contains(err.Error(), "--skip-plugin") {
		return withHint(err, "if it is a network plugin that cannot do it any more: gantry gc --skip-plugin=TYPE removes the pod without it")
	}
	return err
}
