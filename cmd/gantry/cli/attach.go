package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime"
	"github.com/gantryrun/gantry/runtime/attach"
)

type attachOptions struct {
	runtime.AttachOptions
	uuidFile, mode, keys string
}

func newAttachCommand(e *env) *cobra.Command {
	o := &attachOptions{}
	cmd := verb("attach [flags] POD", "Attach to the streams or the terminal of a running app", nil)
	cmd.Long = "Attach to a running app: to its terminal (--tty), or to those of its streams that come to gantry (all of a detached pod or of several apps; --stdin=stream).\n" +
		"Several clients may be attached at a time; one that is too slow loses output, and holds up nobody. When the app is over, its exit code is attach's;\n" +
		"who detaches gets 0."
	fs := cmd.Flags()
	addUUIDFile(fs, &o.uuidFile)
	oneVar(fs, &o.App, "app", "APP", "which app, where the pod has several", appName)
	fs.StringVar(&o.mode, "mode", "auto", "`MODE`: auto is all that there is, list says what there is; or of stdin, stdout, stderr, tty, tty-in, tty-out some, separated by commas")
	fs.StringVar(&o.keys, "detach-keys", attach.DefaultKeys, "`KEYS` that detach, characters and ctrl-X separated by commas; empty: none")
	fs.BoolVar(&o.CloseStdin, "close-stdin", false, "the end of our stdin is the end of the app's, for good")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return runAttach(cmd.Context(), e, o, args) }
	return cmd
}

func runAttach(ctx context.Context, e *env, o *attachOptions, args []string) error {
	list, err := o.parse()
	if err != nil {
		return err
	}
	if err := needHost(); err != nil {
		return err
	}
	store, err := e.pods()
	if err != nil {
		return err
	}
	pod, err := openPod(store, args, o.uuidFile)
	if err != nil {
		return err
	}
	defer pod.Close()
	if list {
		names, err := runtime.Attachable(ctx, pod, o.App)
		for _, n := range names {
			fmt.Fprintln(e.stdout, n)
		}
		return err
	}
	o.Join.Stdin, o.Join.Stdout, o.Join.Stderr = os.Stdin, os.Stdout, os.Stderr
	ended, err := runtime.Attach(ctx, pod, o.AttachOptions)
	if ended != nil && ended.Lost > 0 {
		e.warn("%d bytes of the app's output came faster than they were taken here, and are missing", ended.Lost)
	}
	switch {
	case err != nil || ended.Detached:
		return err
	case ended.Last == nil:
		return fmt.Errorf("pod %s ended, and nobody knows how", pod.UUID)
	case ended.Last.Code != 0:
		return exitCode(ended.Last.Code)
	}
	return nil
}

// parse reads the mode and the keys. list: nothing is to be attached to.
func (o *attachOptions) parse() (list bool, err error) {
	if o.Join.Keys, err = attach.ParseKeys(o.keys); err != nil {
		return false, usagef("--detach-keys: %w", err)
	}
	switch o.mode {
	case "auto":
		return false, nil
	case "list":
		return true, nil
	}
	known := []string{pods.AttachStdin, pods.AttachStdout, pods.AttachStderr, pods.AttachTTYIn, pods.AttachTTYOut}
	for name := range strings.SplitSeq(o.mode, ",") {
		switch {
		case name == "tty":
			o.Streams = append(o.Streams, pods.AttachTTYIn, pods.AttachTTYOut)
		case slices.Contains(known, name):
			o.Streams = append(o.Streams, name)
		default:
			return false, usagef("--mode=%s: want auto, list, tty, or of stdin, stdout, stderr, tty-in, tty-out some, separated by commas", o.mode)
		}
	}
	slices.Sort(o.Streams)
	o.Streams = slices.Compact(o.Streams)
	return false, nil
}
