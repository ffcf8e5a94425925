package cli

import (
	"fmt"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantryrun/gantry/image"
)

// newImageImportCommand is fetch for what lies on this machine, and nothing else: a mistyped path never asks a registry.
func newImageImportCommand(e *env) *cobra.Command {
	o := fetchOptions{pull: "update"}
	cmd := verb("import [flags] FILE...", "Store images of layouts and archives on this machine, and print their IDs", between(1, math.MaxInt))
	fs := cmd.Flags()
	fs.BoolVarP(&o.quiet, "quiet", "q", false, "no progress on stderr")
	formatVar(fs, &o.format)
	oneVar(fs, &o.platform, "platform", "OS/ARCH[/VARIANT]", "default: this machine's", parsePlatform)
	oneVar(fs, &o.name, "name", "NAME", "what the one FILE is called, as an image of a registry is (default: its path; what it calls itself is no name)", importName)
	fs.BoolVar(&o.rollback, "allow-rollback", false, "let the name lead back to an image that it led to before")
	fs.BoolVar(&o.keepBlobs, "keep-blobs", false, "keep compressed layers as they came")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.name != (image.Ref{}) && len(args) > 1 {
			return usagef("--name: one name is for one FILE")
		}
		for i, a := range args {
			ref, err := image.ParseRef(a)
			if err == nil && ref.Kind == image.Registry && !strings.Contains(a, "://") {
				a = "./" + a // a file's bare name is one here
				args[i] = a
				ref, err = image.ParseRef(a)
			}
			if err != nil {
				return usageError{err}
			}
			if ref.Path == "" {
				return usagef("%s is not on this machine: gantry fetch brings it", a)
			}
		}
		return runFetch(cmd.Context(), e, o, args)
	}
	return cmd
}

// importName is a name such as a registry's images have.
func importName(s string) (image.Ref, error) {
	ref, err := image.ParseRef(s)
	if err == nil && (ref.Kind != image.Registry || ref.Digest != "") {
		err = fmt.Errorf("%q is no name such as reg.example/app:v1", s)
	}
	return ref, err
}
