package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime/logs"
)

type logsOptions struct {
	logs.Options
	uuidFile   string
	timestamps bool
}

func newLogsCommand(e *env) *cobra.Command {
	o := &logsOptions{}
	cmd := verb("logs [flags] POD", "Print what the apps of a pod wrote", nil)
	fs := cmd.Flags()
	addUUIDFile(fs, &o.uuidFile)
	fs.BoolVarP(&o.Follow, "follow", "f", false, "go on until the pod is over")
	listVar(fs, &o.Apps, "app", "APP", "only this app", appName)
	o.Tail = -1
	fs.VarP(&value{typ: "N", set: func(s string) (err error) { o.Tail, err = parseLines(s); return err }}, "tail", "n", "only the last N lines")
	oneVar(fs, &o.Since, "since", "TIME", "only what is younger: 2026-01-02T15:04:05Z, or 10m", parseTime)
	oneVar(fs, &o.Until, "until", "TIME", "only what is older", parseTime)
	fs.BoolVarP(&o.timestamps, "timestamps", "t", false, "begin each line with its time")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return runLogs(cmd.Context(), e, o, args) }
	return cmd
}

func parseLines(s string) (int, error) {
	if s == "all" {
		return -1, nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q: want a number of lines, or all", s)
	}
	return int(n), nil
}

// parseTime takes a time, or how long ago it was.
func parseTime(s string) (time.Time, error) {
	if d, err := parseDuration(s); err == nil {
		return time.Now().Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q: want a time such as 2026-01-02T15:04:05Z, or a duration such as 10m", s)
}

func runLogs(ctx context.Context, e *env, o *logsOptions, args []string) error {
	store, err := e.pods()
	if err != nil {
		return err
	}
	pod, err := openPod(store, args, o.uuidFile)
	if err != nil {
		return err
	}
	defer pod.Close()
	apps, err := pod.Apps()
	if err != nil {
		return err
	}
	p := &logPrinter{env: e, timestamps: o.timestamps, prefix: len(apps) > 1 && len(o.Apps) != 1}
	n, err := logs.Print(ctx, pod, o.Options, p.print)
	if errors.Is(err, context.Canceled) {
		return nil // Ctrl-C is how --follow ends
	}
	if err == nil && n == 0 && len(apps) == 1 && apps[0].Stdout == "" {
		return p.explain(pod)
	}
	return err
}

// logPrinter writes the apps' bytes as they are: they are the user's own programs', and may be meant for a terminal.
type logPrinter struct {
	*env
	timestamps, prefix bool
}

func (p *logPrinter) print(app string, l logs.Line) error {
	w := io.Writer(p.stdout)
	if l.Stream == "stderr" {
		w = p.stderr
	}
	var head string
	if p.timestamps && !l.Continued {
		head = l.Time.Format(time.RFC3339Nano) + " "
	}
	if p.prefix && !l.Continued {
		head += app + ": "
	}
	tail := "\n"
	if l.Partial {
		tail = ""
	}
	_, err := fmt.Fprintf(w, "%s%s%s", head, l.Text, tail)
	return err
}

// explain says why there may be nothing: an app of a pod in the foreground writes to its caller's own terminal or files.
func (p *logPrinter) explain(pod *pods.Pod) error {
	if _, err := pod.Root().Lstat("logs"); err != nil {
		p.warn("nothing was logged: the apps have written nothing, or, of a pod in the foreground, to the terminal or files of who ran it")
	}
	return nil
}
