package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
)

func newImageExportCommand(e *env) *cobra.Command {
	var overwrite bool
	cmd := verb("export [flags] IMAGE FILE", "Write an image as an OCI archive; FILE may be - for stdout", between(2, 2))
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace FILE if it is there")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return runImageExport(cmd.Context(), e, args[0], args[1], overwrite)
	}
	return cmd
}

func runImageExport(ctx context.Context, e *env, name, file string, overwrite bool) error {
	r, i, err := getImage(ctx, e, name)
	if err != nil {
		return err
	}
	if file == "-" {
		return r.Store.Export(ctx, i, e.stdout)
	}
	return writeFile(file, overwrite, 0o644, func(w io.Writer) error { return r.Store.Export(ctx, i, w) })
}

// writeFile writes beside file and renames, so that file is whole or not there.
func writeFile(file string, overwrite bool, mode os.FileMode, write func(io.Writer) error) error {
	if file == "" {
		return usagef("the name of the file is empty: is a variable of the script not set?")
	}
	if _, err := os.Lstat(file); err == nil && !overwrite {
		return withHint(fmt.Errorf("write %s: %w", file, fs.ErrExist), "--overwrite replaces it")
	}
	temp := fmt.Sprintf("%s.gantry-%d", file, os.Getpid())
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	err = write(f)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temp, file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}
