package cli

import (
	"cmp"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/gantryrun/gantry/pods/printable"
	"github.com/gantryrun/gantry/runtime"
)

// newAppCommand groups what is about one app of a pod, as rkt had it.
func newAppCommand(e *env) *cobra.Command {
	exec := newEnterCommand(e)
	exec.Use, exec.Aliases = "exec [flags] POD [CMD [ARG...]]", nil
	return newGroup("app", "Look at the apps of a pod, and change them while it runs", newAppListCommand(e), newAppStatusCommand(e), exec, newAppSandboxCommand(e), newAppAddCommand(e),
		newAppChangeCommand(e, "start", "Start an app that does not run", startApp), newAppChangeCommand(e, "stop", "Stop an app, and leave its pod running", stopApp),
		newAppChangeCommand(e, "rm", "Remove an app that does not run from its pod, with its files and logs", removeApp))
}

func readPod(e *env, args []string, uuidFile string) (*runtime.Status, error) {
	store, err := e.pods()
	if err != nil {
		return nil, err
	}
	pod, err := openPod(store, args, uuidFile)
	if err != nil {
		return nil, err
	}
	defer pod.Close()
	return runtime.ReadStatus(store, pod)
}

func newAppListCommand(e *env) *cobra.Command {
	var uuidFile, format, fields string
	var noLegend bool
	cmd := verb("list [flags] POD", "List the apps of a pod", nil)
	fs := cmd.Flags()
	addUUIDFile(fs, &uuidFile)
	formatVar(fs, &format)
	fs.StringVar(&fields, "fields", "", "`COLUMN,...` to show")
	fs.BoolVar(&noLegend, "no-legend", false, "no line of column names")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		t, err := newTable(appColumns(), fields, noLegend)
		if err != nil {
			return err
		}
		s, err := readPod(e, args, uuidFile)
		if err != nil {
			return err
		}
		if isJSON(format) {
			return writeJSON(e.stdout, s.Status)
		}
		printTable(e.stdout, t, appColumns(), "app,state,image,pid,restarts,code", s.Status)
		return nil
	}
	return cmd
}

func appColumns() []column[runtime.AppStatus] {
	return []column[runtime.AppStatus]{
		{"app", func(a runtime.AppStatus) string { return a.Name }},
		{"state", func(a runtime.AppStatus) string { return cmp.Or(a.State, "-") }},
		{"image", func(a runtime.AppStatus) string { return a.Image.Name }},
		{"image-id", func(a runtime.AppStatus) string { return a.Image.ID }},
		{"pid", func(a runtime.AppStatus) string { return orDash(a.PID) }},
		{"restarts", func(a runtime.AppStatus) string { return strconv.Itoa(a.Restarts()) }},
		{"code", appCode},
	}
}

func orDash(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

// appCode is what the app's last finished run ended with.
func appCode(a runtime.AppStatus) string {
	if a.Last == nil {
		return "-"
	}
	return strconv.Itoa(a.Last.Code)
}

func newAppStatusCommand(e *env) *cobra.Command {
	var uuidFile, app, format string
	cmd := verb("status [flags] --app=APP POD", "Show how an app is doing, as key=value lines", nil)
	fs := cmd.Flags()
	addUUIDFile(fs, &uuidFile)
	oneVar(fs, &app, "app", "APP", "which app (default: the only one)", appName)
	formatVar(fs, &format)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		s, err := readPod(e, args, uuidFile)
		if err != nil {
			return err
		}
		a, err := findApp(s, app)
		if err != nil {
			return err
		}
		if isJSON(format) {
			return writeJSON(e.stdout, a)
		}
		printAppStatus(e.stdout, a)
		return nil
	}
	return cmd
}

func findApp(s *runtime.Status, name string) (*runtime.AppStatus, error) {
	if name == "" && len(s.Status) == 1 {
		return &s.Status[0], nil
	}
	for i := range s.Status {
		if s.Status[i].Name == name {
			return &s.Status[i], nil
		}
	}
	if len(s.Status) == 0 {
		return nil, usagef("pod %s has no app", s.UUID)
	}
	if name == "" {
		return nil, usagef("pod %s has %d apps: say --app=NAME", s.UUID, len(s.Status))
	}
	return nil, usagef("pod %s has no app %q", s.UUID, name)
}

// printAppStatus prints rkt's lines (name, state, created, started, finished, exit_code), and a few more.
func printAppStatus(w io.Writer, a *runtime.AppStatus) {
	fmt.Fprintf(w, "name=%s\nstate=%s\nimage=%s\n", a.Name, a.State, printable.Text(a.Image.Name))
	if a.PID != 0 {
		fmt.Fprintf(w, "pid=%d\n", a.PID)
	}
	fmt.Fprintf(w, "restarts=%d\n", a.Restarts())
	if a.Dropped != nil {
		fmt.Fprintf(w, "dropped=%s\n", droppedText(a.Dropped))
	}
	if a.Last == nil {
		return
	}
	// Of the newest run that is over; one that goes on has another start.
	fmt.Fprintf(w, "started=%s\nfinished=%s\nexit_code=%d\n", stampOrNothing(a.Last.Started), stampOrNothing(a.Last.Finished), a.Last.Code)
	if a.Last.OOMKilled {
		fmt.Fprintln(w, "oom_killed=true")
	}
	if a.Last.Again != nil {
		fmt.Fprintf(w, "again=%s\n", stamp(*a.Last.Again))
	}
	if a.Last.Reason != "" {
		fmt.Fprintf(w, "reason=%s\n", printable.Text(a.Last.Reason))
	}
}
