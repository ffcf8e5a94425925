package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/pods/report"
	"github.com/gantryrun/gantry/runtime/launch"
)

// enter parses the arguments, as gantry enter gives them, and runs the command; it returns what to exit with. say learns how
// gantry was called.
func enter(args []string, say *report.Reporter) (int, error) {
	var o launch.EnterOptions
	var runDir, podDir string
	flags := flag.NewFlagSet("enter", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&say.Verb, "verb", say.Verb, "what the user asked for")
	flags.Func("log-format", "text or json", func(v string) error {
		say.JSON = v == "json"
		return nil
	})
	flags.StringVar(&runDir, "run-dir", "", "directory of the running pod")
	flags.StringVar(&podDir, "pod-dir", "", "directory of the pod")
	flags.StringVar(&o.App, "app", "", "name of the app")
	flags.BoolVar(&o.TTY, "tty", false, "run on a terminal of its own")
	flags.StringVar(&o.User, "user", "", "USER[:GROUP]")
	flags.StringVar(&o.Cwd, "cwd", "", "working directory")
	flags.StringVar(&o.Init, "init", "", "path of gantry-init (default: beside this program)")
	flags.DurationVar(&o.Limit, "limit", 0, "time after which the command is killed")
	flags.Func("env", "NAME=VALUE", func(v string) error {
		o.Env = append(o.Env, v)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return codeInternal, err
	}
	if o.Command = flags.Args(); len(o.Command) == 0 || runDir == "" || podDir == "" || o.App == "" {
		return codeInternal, errors.New("want --run-dir, --pod-dir, --app and a command")
	}
	var err error
	if o.Seccomp, err = seccompOf(podDir, o.App); err != nil {
		return codeInternal, err
	}
	if o.Init == "" {
		self, err := os.Executable()
		if err != nil {
			return codeInternal, err
		}
		o.Init = filepath.Join(filepath.Dir(self), "gantry-init")
	}
	o.StateDir = filepath.Join(runDir, "lc")
	o.Config = filepath.Join(podDir, pods.AppPath(o.App, pods.ConfigFile))
	return launch.Enter(o)
}

// seccompOf reads the profile that the app was given.
func seccompOf(podDir, name string) (*pods.Seccomp, error) {
	pod, err := pods.OpenDir(podDir)
	if err != nil {
		return nil, err
	}
	defer pod.Close()
	apps, err := pod.Apps()
	if err != nil {
		return nil, err
	}
	for _, app := range apps {
		if app.Name == name {
			return app.Seccomp, nil
		}
	}
	return nil, fmt.Errorf("the pod has no app %q", name)
}
