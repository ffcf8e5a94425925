package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/gantryrun/gantry/image"
)

func newImageVerifyCommand(e *env) *cobra.Command {
	var format string
	cmd := verb("verify [flags] IMAGE...", "Hash the stored bytes of images again", cobra.MinimumNArgs(1))
	cmd.Flags().StringVar(&format, "format", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return runImageVerify(cmd.Context(), e, format, args) }
	return cmd
}

// verifiedJSON is what --format=json says of one image.
type verifiedJSON struct {
	ID       string          `json:"id"`
	Problems []image.Problem `json:"problems"`
}

func runImageVerify(ctx context.Context, e *env, format string, args []string) error {
	if err := checkFormat(format); err != nil {
		return err
	}
	var all []verifiedJSON
	var errs []error
	for _, a := range args {
		r, i, err := getImage(ctx, e, a)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		problems, err := r.Store.Verify(ctx, i)
		errs = append(errs, err)
		all = append(all, verifiedJSON{i.ID.String(), append([]image.Problem{}, problems...)})
		if len(problems) > 0 {
			errs = append(errs, withHint(fmt.Errorf("%w: image %s: %d files are not what they should be", image.ErrCorrupt, i.ID, len(problems)),
				"gantry image rm %s, and fetch it again", i.ID))
		}
	}
	if isJSON(format) {
		return errors.Join(writeJSON(e.stdout, all), errors.Join(errs...))
	}
	for _, v := range all {
		for _, p := range v.Problems {
			fmt.Fprintf(e.stdout, "%s: %s\n", quoteControl(p.Path), quoteControl(p.What))
		}
		if len(v.Problems) == 0 {
			fmt.Fprintf(e.stdout, "%s: verified\n", v.ID)
		}
	}
	return errors.Join(errs...)
}

func newImageExportCommand(e *env) *cobra.Command {
	var overwrite bool
	cmd := verb("export [flags] IMAGE FILE", "Write an image as an OCI archive; FILE may be - for stdout", cobra.ExactArgs(2))
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace FILE if it is there")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return runImageExport(cmd.Context(), e, args[0], args[1], overwrite)
	}
	return cmd
}

// runImageExport writes beside FILE and renames, so that FILE is whole or not there.
func runImageExport(ctx context.Context, e *env, name, file string, overwrite bool) (err error) {
	r, i, err := getImage(ctx, e, name)
	if err != nil {
		return err
	}
	if file == "-" {
		return r.Store.Export(ctx, i, e.stdout)
	}
	if _, err := os.Lstat(file); err == nil && !overwrite {
		return withHint(fmt.Errorf("export to %s: %w", file, fs.ErrExist), "--overwrite replaces it")
	}
	temp := fmt.Sprintf("%s.gantry-%d", file, os.Getpid())
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = r.Store.Export(ctx, i, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return os.Rename(temp, file)
}
