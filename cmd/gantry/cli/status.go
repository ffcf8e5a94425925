package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/pods/printable"
	"github.com/gantryrun/gantry/runtime"
)

type statusOptions struct {
	uuidFile, format string
	wait, waitReady  waitFlag
}

// waitFlag is --wait, --wait=true, --wait=30s: rkt's three forms.
type waitFlag struct {
	on      bool
	timeout time.Duration // 0: for ever
}

func (w *waitFlag) addTo(fs *pflag.FlagSet, name, usage string) {
	fs.Var(&value{typ: "DURATION", set: func(s string) error {
		if s == "true" || s == "false" { // not what else is a bool to Go: 1 is a second
			*w = waitFlag{on: s == "true"}
			return nil
		}
		d, err := parseDuration(s)
		*w = waitFlag{on: d > 0, timeout: d}
		return err
	}}, name, usage)
	fs.Lookup(name).NoOptDefVal = "true"
}

func newStatusCommand(e *env) *cobra.Command {
	o := &statusOptions{}
	cmd := verb("status [flags] POD", "Show how a pod is doing, as key=value lines", nil)
	fs := cmd.Flags()
	addUUIDFile(fs, &o.uuidFile)
	formatVar(fs, &o.format)
	o.wait.addTo(fs, "wait", "wait until the pod is over")
	o.waitReady.addTo(fs, "wait-ready", "wait until all apps are ready, as their --ready says")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return runStatus(cmd.Context(), e, o, args) }
	return cmd
}

func runStatus(ctx context.Context, e *env, o *statusOptions, args []string) error {
	store, err := e.pods()
	if err != nil {
		return err
	}
	pod, err := openPod(store, args, o.uuidFile)
	if err != nil {
		return err
	}
	defer pod.Close()
	waited := waitFor(ctx, pod, o.waitReady, "ready", runtime.WaitReady)
	if waited == nil {
		waited = waitFor(ctx, pod, o.wait, "over", runtime.Wait)
	}
	if waited != nil && !errors.Is(waited, context.DeadlineExceeded) {
		return waited
	}
	s, err := runtime.ReadStatus(store, pod)
	if err != nil {
		return err
	}
	if isJSON(o.format) {
		return errors.Join(writeJSON(e.stdout, s), waited)
	}
	printStatus(e.stdout, s)
	return waited
}

// timeoutError is a wait that ended before what was waited for.
type timeoutError string

func (e timeoutError) Error() string        { return string(e) }
func (e timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

func waitFor(ctx context.Context, pod *pods.Pod, w waitFlag, what string, wait func(context.Context, *pods.Pod) error) error {
	if !w.on {
		return nil
	}
	if w.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.timeout)
		defer cancel()
	}
	err := wait(ctx, pod)
	if errors.Is(err, context.DeadlineExceeded) {
		return timeoutError(fmt.Sprintf("pod %s is not %s after %s", pod.UUID, what, w.timeout))
	}
	return err
}

// printStatus prints the lines that scripts parse: rkt's, and a few more at the end.
func printStatus(w io.Writer, s *runtime.Status) {
	line := func(key, val string) {
		if val != "" {
			fmt.Fprintf(w, "%s=%s\n", key, printable.Text(val))
		}
	}
	line("state", string(s.State))
	line("created", stampOrNothing(s.Created))
	line("started", stampOrNothing(s.Started))
	if s.Pod != nil && s.Pod.Net != pods.NetCNI {
		line("networks", s.Pod.Net)
	} else {
		line("networks", networksText(s.Networks))
	}
	if s.PID != 0 {
		line("pid", strconv.Itoa(s.PID))
	}
	line("exited", strconv.FormatBool(s.State.Over()))
	if s.State == pods.Running {
		line("ready", strconv.FormatBool(s.Ready))
	}
	for _, a := range s.Status {
		if a.Last != nil && a.State == runtime.AppExited {
			line("app-"+a.Name, strconv.Itoa(a.Last.Code))
		}
	}
	line("name", s.Name)
	line("finished", stampOrNothing(s.Finished))
	line("code", exitText(s.Summary))
	for _, a := range s.Status {
		if n := a.Restarts(); n > 0 {
			line("restarts-"+a.Name, strconv.Itoa(n))
		}
	}
	for _, a := range s.Status {
		if a.Dropped != nil {
			line("dropped-"+a.Name, droppedText(a.Dropped))
		}
		if a.PostStop != nil {
			line("post-stop-"+a.Name, strconv.Itoa(a.PostStop.Code))
		}
	}
	line("reason", s.Reason)
	line("left", strings.Join(s.Left, ","))
}

// droppedText counts lines that are in the log no more, and those that never got to the journal.
func droppedText(d *pods.Dropped) string {
	return strconv.FormatUint(d.Lines+d.Journal, 10)
}

func stampOrNothing(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return stamp(t)
}

func exitText(s runtime.Summary) string {
	if s.Code == nil {
		return ""
	}
	return strconv.Itoa(*s.Code)
}

func labelsText(s runtime.Summary) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(s.Labels)) {
		parts = append(parts, k+"="+s.Labels[k])
	}
	return strings.Join(parts, ",")
}

func newInspectCommand(e *env) *cobra.Command {
	var uuidFile string
	cmd := verb("inspect [flags] POD", "Show all that is known of a pod, as JSON", nil)
	addUUIDFile(cmd.Flags(), &uuidFile)
	jsonVar(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return runStatus(cmd.Context(), e, &statusOptions{uuidFile: uuidFile, format: "json"}, args)
	}
	return cmd
}

func newCatManifestCommand(e *env) *cobra.Command {
	var uuidFile string
	var pretty bool
	cmd := verb("cat-manifest [flags] POD", "Print a pod's manifest", nil)
	addUUIDFile(cmd.Flags(), &uuidFile)
	prettyVar(cmd.Flags(), &pretty, true)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		store, err := e.pods()
		if err != nil {
			return err
		}
		pod, err := openPod(store, args, uuidFile)
		if err != nil {
			return err
		}
		defer pod.Close()
		m, err := pod.Manifest()
		if err != nil {
			return err
		}
		apps, err := pod.Apps()
		if err != nil {
			return err
		}
		return encodeJSON(e.stdout, struct {
			*pods.Manifest
			Apps []*pods.App `json:"apps"`
		}{m, apps}, pretty)
	}
	return cmd
}

// newWaitCommand is podman's word for status --wait: it prints the pod's exit code.
func newWaitCommand(e *env) *cobra.Command {
	var uuidFile string
	var timeout time.Duration
	cmd := verb("wait [flags] POD...", "Wait until pods are over, and print their exit codes", nil)
	addUUIDFile(cmd.Flags(), &uuidFile)
	oneVar(cmd.Flags(), &timeout, "timeout", "DURATION", "give up after this", parseDuration)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return eachPod(e, args, uuidFile, func(store *pods.Store, pod *pods.Pod) error {
			if err := waitFor(cmd.Context(), pod, waitFlag{on: true, timeout: timeout}, "over", runtime.Wait); err != nil {
				return err
			}
			s, err := runtime.Summarize(store, pod.UUID)
			if err != nil {
				return err
			}
			if s.Code == nil {
				return fmt.Errorf("pod %s ended without an exit code: its supervisor was killed", pod.UUID)
			}
			fmt.Fprintln(e.stdout, *s.Code)
			return nil
		})
	}
	return cmd
}

// eachPod opens the pods one after the other and joins what goes wrong.
func eachPod(e *env, args []string, uuidFile string, do func(*pods.Store, *pods.Pod) error) error {
	which, err := podArgs(args, uuidFile)
	if err != nil {
		return err
	}
	store, err := e.pods()
	if err != nil {
		return err
	}
	var errs []error
	for _, w := range which {
		pod, err := store.Open(w)
		if err == nil {
			err = errors.Join(do(store, pod), pod.Close())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
