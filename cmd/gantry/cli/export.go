package cli

import (
	"io"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gantryrun/gantry/runtime"
)

type exportOptions struct {
	uuidFile, app, output string
	overwrite             bool
}

func newExportCommand(e *env) *cobra.Command {
	o := &exportOptions{}
	cmd := verb("export [flags] POD [FILE]", "Write what an app changed of its root file system, as an OCI archive", between(0, 2))
	cmd.Long = "Write what an app changed of its root file system as an OCI archive of one layer, in which what it deleted is a whiteout.\n" +
		"The image's own layers are not in it; annotations name the image. Volumes are not part of a root file system."
	fs := cmd.Flags()
	addUUIDFile(fs, &o.uuidFile)
	oneVar(fs, &o.app, "app", "APP", "whose (default: the only one's)", appName)
	fs.StringVarP(&o.output, "output", "o", "", "same as the argument `FILE`; without, and with -, it is stdout")
	fs.BoolVar(&o.overwrite, "overwrite", false, "replace FILE if it is there")
	cmd.RunE = func(_ *cobra.Command, args []string) error { return runExport(e, o, args) }
	return cmd
}

func runExport(e *env, o *exportOptions, args []string) error {
	which, files := args, []string(nil)
	switch {
	case o.uuidFile != "":
		which, files = nil, args
	case len(args) > 1:
		which, files = args[:1], args[1:]
	}
	switch {
	case len(files) > 1 || len(files) == 1 && o.output != "":
		return usagef("%q is one argument too many", files[len(files)-1])
	case len(files) == 0 && o.output == "":
		files = []string{"-"}
	case len(files) == 0:
		files = []string{o.output}
	}
	store, err := e.pods()
	if err != nil {
		return err
	}
	pod, err := openPod(store, which, o.uuidFile)
	if err != nil {
		return err
	}
	defer pod.Close()
	if files[0] != "-" {
		return writeFile(files[0], o.overwrite, 0o600, func(w io.Writer) error { return runtime.Export(w, pod, o.app) })
	}
	if term.IsTerminal(int(e.stdout.Fd())) {
		return usagef("an archive is not for a terminal: name a FILE")
	}
	return runtime.Export(e.stdout, pod, o.app)
}
