package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods/printable"
	"github.com/gantryrun/gantry/runtime"
)

// Main runs one command line and returns the exit code.
func Main(args []string, stdin, stdout, stderr *os.File) int {
	return guard(stderr, func() int { return execute(args, stdin, stdout, stderr) })
}

// guard makes of a panic an error like others: Go would exit with 2, which is an app's code.
func guard(stderr io.Writer, run func() int) (code int) {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(stderr, "gantry: internal error: %s: please report this with the command line and the trace below\n%s", printable.Text(fmt.Sprint(p)), debug.Stack())
			code = exitGantry
		}
	}()
	return run()
}

func execute(args []string, stdin, stdout, stderr *os.File) int {
	e := &env{stdin: stdin, stdout: &results{File: stdout}, stderr: stderr, insecure: insecure{}, logFormat: "text"}
	debug.SetGCPercent(400) // over before a collection would pay; a fetch keeps little
	unix.Umask(0o022)       // of everything that is made without saying how, here and in the programs that follow
	if err := runtime.CloseForeign(); err != nil {
		return report(stderr, e.logFormat, "", err)
	}
	ctx, interrupts := catchInterrupts(context.Background())
	e.giveBack = interrupts.giveBack
	root := newRoot(e)
	args, verb := verbFirst(args, root.PersistentFlags())
	addVerbs(root, e, verb)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err = e.stdout.outcome(err); err == nil {
		return 0
	}
	if first, ok := interrupts.caught().(unix.Signal); ok && errors.Is(err, context.Canceled) {
		report(stderr, e.logFormat, verbOf(cmd), interrupted(err, first))
		return 128 + int(first) // as a shell calls the death by it, and a unit that is stopped: no failure
	}
	return report(stderr, e.logFormat, verbOf(cmd), globalFlagError(err))
}

// interrupted says which signal ended what err says, where that is more than its end.
func interrupted(err error, by unix.Signal) error {
	if err.Error() == context.Canceled.Error() { // however it is wrapped
		return fmt.Errorf("interrupted by %s", unix.SignalName(by))
	}
	return fmt.Errorf("%w: interrupted by %s", err, unix.SignalName(by))
}

// verbFirst moves flags that are no global ones behind the verb, and says which it is, if there is one: with rkt the flags of a verb could
// stand before it.
func verbFirst(args []string, global *pflag.FlagSet) (all []string, verb string) {
	var before, stray []string
	rest := args
	for len(rest) > 0 && strings.HasPrefix(rest[0], "--") && rest[0] != "--" {
		n := 1
		name, _, given := strings.Cut(rest[0][2:], "=")
		switch f := global.Lookup(name); {
		case f == nil && name != "help":
			stray, rest = append(stray, rest[0]), rest[1:]
			continue
		case f != nil && !given && f.NoOptDefVal == "":
			n = min(2, len(rest)) // with its value
		}
		before, rest = append(before, rest[:n]...), rest[n:]
	}
	switch {
	case len(rest) == 0 && slices.Equal(stray, []string{"--version"}):
		return append(before, "version"), "version"
	case len(rest) == 0:
		return args, ""
	case len(stray) == 0:
		return args, rest[0]
	}
	return slices.Concat(before, rest[:1], stray, rest[1:]), rest[0]
}

// globalFlagError recognises what pflag says of flags before the verb: cobra asks the root's flag error function only for those
// after it.
func globalFlagError(err error) error {
	var invalid *pflag.InvalidValueError
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	if errors.As(err, &invalid) || errors.As(err, &unknown) || errors.As(err, &missing) {
		return usageError{flagError(err, "")}
	}
	return err
}

// verbOf is "image list" of "gantry image list".
func verbOf(cmd *cobra.Command) string {
	if cmd == nil {
		return ""
	}
	_, verb, _ := strings.Cut(cmd.CommandPath(), " ")
	return verb
}

// newRoot is gantry without its verbs: see addVerbs.
func newRoot(e *env) *cobra.Command {
	root := newGroup("gantry [global flags]", "Run pods of OCI images without a daemon")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := cmp.Or(checkValues(root.PersistentFlags()), checkValues(cmd.Flags())); err != nil {
			return err
		}
		return e.check()
	}
	root.SilenceErrors, root.SilenceUsage = true, true
	root.TraverseChildren = true // global flags may stand before the verb
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	e.addFlags(root.PersistentFlags())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if err = flagError(err, ""); hintOf(err) == "" {
			err = withHint(err, "%s --help lists the flags", cmd.CommandPath())
		}
		return usageError{err}
	})
	root.AddGroup(&cobra.Group{ID: "pod", Title: "Pods:"}, &cobra.Group{ID: "image", Title: "Images:"}, &cobra.Group{ID: "host", Title: "This machine:"})
	root.SetHelpCommand(newHelpCommand())
	oneUsageLine(root)
	return root
}
