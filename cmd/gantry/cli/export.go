package cli

import (
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gantryrun/gantry/runtime"
)

func newExportCommand(e *env) *cobra.Command {
	var uuidFile, app, output string
	cmd := verb("export [flags] POD", "Write what an app changed of its root file system, as an OCI archive", nil)
	cmd.Long = "Write what an app changed of its root file system as an OCI archive of one layer, in which what it deleted is a whiteout.\n" +
		"The image's own layers are not in it; annotations name the image. Volumes are not part of a root file system."
	addUUIDFile(cmd.Flags(), &uuidFile)
	oneVar(cmd.Flags(), &app, "app", "APP", "whose (default: the only one's)", appName)
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write (default: stdout)")
	cmd.RunE = func(_ *cobra.Command, args []string) error { return runExport(e, args, uuidFile, app, output) }
	return cmd
}

func runExport(e *env, args []string, uuidFile, app, output string) (err error) {
	store, err := e.pods()
	if err != nil {
		return err
	}
	pod, err := openPod(store, args, uuidFile)
	if err != nil {
		return err
	}
	defer pod.Close()
	var out io.Writer = e.stdout
	if output != "" {
		var f *os.File
		if f, err = os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return err
		}
		out = f
		defer func() {
			if err = errors.Join(err, f.Close()); err != nil {
				err = errors.Join(err, os.Remove(output)) // half an archive is none
			}
		}()
	} else if term.IsTerminal(int(e.stdout.Fd())) {
		return usagef("an archive is not for a terminal: say --output=FILE")
	}
	return runtime.Export(out, pod, app)
}
