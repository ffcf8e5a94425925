package cli

import (
	"path"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gantryrun/gantry/runtime"
)

func newEnterCommand(e *env) *cobra.Command {
	o := runtime.EnterOptions{}
	var uuidFile string
	var interactive bool
	cmd := verb("enter [flags] POD [CMD [ARG...]]", "Run a command in a running app", nil)
	cmd.Aliases = []string{"exec"}
	fs := cmd.Flags()
	fs.SetInterspersed(false) // flags after the pod are the command's
	addUUIDFile(fs, &uuidFile)
	oneVar(fs, &o.App, "app", "APP", "which app, where the pod has several", appName)
	fs.BoolVarP(&interactive, "interactive", "i", false, "accepted: the command has the caller's stdin anyway")
	fs.BoolVarP(&o.TTY, "tty", "t", false, "give the command a terminal of its own (default of enter, and without a command, on a terminal)")
	fs.StringVarP(&o.User, "user", "u", "", "`USER[:GROUP]` (default: the app's)")
	listVar(fs, &o.Env, "env", "NAME=VALUE", "environment variable", parseEnvOrOwn)
	alias(fs, "", "e", "env")
	fs.StringVarP(&o.Cwd, "workdir", "w", "", "`DIR` to start in (default: the app's)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var which []string
		if uuidFile == "" && len(args) > 0 {
			which, o.Args = args[:1], args[1:]
		} else {
			o.Args = args
		}
		if len(o.Args) > 0 && o.Args[0] == "--" {
			o.Args = o.Args[1:]
		}
		return runEnter(cmd, e, o, which, uuidFile)
	}
	return cmd
}

func runEnter(cmd *cobra.Command, e *env, o runtime.EnterOptions, which []string, uuidFile string) error {
	if err := needHost(); err != nil {
		return err
	}
	switch {
	case len(o.Args) > 0 && o.Args[0] == "":
		return usagef("the program's name is empty: is a variable of the script not set?")
	case o.Cwd != "" && !path.IsAbs(o.Cwd):
		return usagef("--workdir: %q: want an absolute path", o.Cwd)
	}
	if (len(o.Args) == 0 || cmd.CalledAs() == "enter") && !cmd.Flags().Changed("tty") { // rkt enter had the caller's
		o.TTY = term.IsTerminal(int(e.stdin.Fd())) && term.IsTerminal(int(e.stdout.Fd())) && term.IsTerminal(int(e.stderr.Fd()))
	}
	r, err := e.runtime()
	if err != nil {
		return err
	}
	pod, err := openPod(r.Pods(), which, uuidFile)
	if err != nil {
		return err
	}
	o.Verb = verbOf(cmd)
	return r.Enter(cmd.Context(), pod, o)
}
