package cli

import (
	"context"
	"errors"
	"fmt"
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

// runImageExport writes beside FILE and renames, so that FILE is whole or not there.
func runImageExport(ctx context.Context, e *env, name, file string, overwrite bool) (err error) {
	r, i, err := getImage(ctx, e, name)
	if err != nil {
		return err
	}
	switch file {
	case "":
		return usagef("the name of the file is empty: is a variable of the script not set?")
	case "-":
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
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temp, file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}
