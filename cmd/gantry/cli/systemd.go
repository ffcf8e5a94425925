package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/runtime/systemd"
)

func newSystemdCommand(e *env) *cobra.Command {
	return newGroup("systemd", "Units for pods", newSystemdUnitCommand(e), newSystemdGeneratorCommand(e))
}

func newSystemdUnitCommand(e *env) *cobra.Command {
	o := &podOptions{}
	cmd := &cobra.Command{
		Use: "unit " + runUse, Short: "Print a unit that runs a pod",
		Long: "Print a service for the line of a run. Specifiers and variables of systemd (%i, ${X}) stay what they are:\n" +
			"write %% and $$ for the characters. Paths of this host become absolute.",
		DisableFlagParsing: true, DisableFlagsInUseLine: true,
	}
	o.addFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return printUnit(cmd, e, o, args) }
	cmd.SetUsageFunc(runUsage)
	return cmd
}

func printUnit(cmd *cobra.Command, e *env, o *podOptions, args []string) error {
	words := globalWords(cmd, nil) // those before the verb; the others are in the line
	req, err := podRequest(cmd, e, o, args)
	if err != nil || req == nil {
		return err
	}
	where := globalWords(cmd, []string{"dir", "system-config", "local-config", "user-config"})
	switch {
	case len(req.Apps) == 0:
		return usagef("no image: gantry systemd unit IMAGE [-- ARG...]")
	case o.detach:
		return usagef("--detach: the unit's process is the pod's supervisor")
	case o.terminal || o.tty:
		return usagef("--interactive and --tty: a unit has no terminal")
	}
	u := systemd.Unit{Where: where, UUIDFile: systemd.DefaultUUIDFile, Install: []string{"WantedBy=multi-user.target"}, Gantry: ownPath()}
	if o.uuidFile == "" {
		words = append(words, "--uuid-file-save="+u.UUIDFile)
	} else if u.UUIDFile, err = unitPath(o.uuidFile); err != nil {
		return err
	}
	for _, w := range o.words {
		word, err := unitWord(w)
		if err != nil {
			return err
		}
		words = append(words, systemd.Quote(word))
	}
	u.Run = words
	u.Description = "gantry pod %p"
	if req.Name != "" {
		u.Description = "gantry pod " + req.Name
	}
	_, err = fmt.Fprintln(e.stdout, strings.TrimSuffix(u.String(), "\n"))
	return err
}

// globalWords are the global flags that were given, all of them or those of names, as words of a unit.
func globalWords(cmd *cobra.Command, names []string) []string {
	var words []string
	cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed && (names == nil || slices.Contains(names, f.Name)) {
			words = append(words, systemd.Quote("--"+f.Name+"="+f.Value.String()))
		}
	})
	return words
}

// ownPath is where units find this program: the name that packages give it, where that is it.
func ownPath() string {
	const packaged = "/usr/bin/gantry"
	self, err := os.Executable()
	if err != nil {
		return packaged
	}
	a, errA := os.Stat(self)
	b, errB := os.Stat(packaged)
	if errA == nil && errB == nil && os.SameFile(a, b) {
		return packaged
	}
	return self
}

func newSystemdGeneratorCommand(e *env) *cobra.Command {
	var pods string
	cmd := verb("generator NORMAL-DIR [EARLY-DIR LATE-DIR]", "Write the units of pod files, as a generator of systemd", between(1, 3))
	cmd.Flags().StringVar(&pods, "pods", systemd.PodsDir, "`DIR` where the pod files are")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		// A boot goes on without a unit that cannot be made: it is named, and nothing fails.
		if err := systemd.Generate(pods, args[0], ownPath()); err != nil {
			log := kernelLog()
			for line := range strings.Lines(err.Error()) {
				line = oneLine(line)
				e.warn("systemd generator: %s", line)
				fmt.Fprintf(log, "<4>gantry-generator: %.800s\n", line) // a record of the kernel's holds a kilobyte
			}
		}
		return nil
	}
	return cmd
}

// kernelLog is where a generator of systemd's says what is wrong: its stderr is /dev/null, and the journal may not be there yet, but reads
// it later (systemd.generator(7)). A user at a shell has stderr.
func kernelLog() io.Writer {
	if os.Getenv("SYSTEMD_SCOPE") != "system" {
		return io.Discard
	}
	kmsg, err := os.OpenFile("/dev/kmsg", os.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0) // in a container it may be a FIFO, or missing
	if err != nil {
		return io.Discard
	}
	return kmsg
}
