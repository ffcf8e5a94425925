package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
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
	c, err := e.orders(r)
	if err != nil {
		return err
	}
	export := func(w io.Writer) error { return c.Export(ctx, i, w) }
	if file == "-" {
		return export(e.stdout)
	}
	return writeFile(file, overwrite, 0o644, export)
}

// writeFile makes a file that has no name until it is whole: who is killed leaves nothing. Where the file system knows no such files
// (NFS) it is FILE.gantry-PID until then, and so it is for a moment where it replaces another.
func writeFile(file string, overwrite bool, mode os.FileMode, write func(io.Writer) error) error {
	if file == "" {
		return usagef("the name of the file is empty: is a variable of the script not set?")
	}
	if _, err := os.Lstat(file); err == nil && !overwrite {
		return withHint(fmt.Errorf("write %s: %w", file, fs.ErrExist), "--overwrite replaces it")
	}
	temp := fmt.Sprintf("%s.gantry-%d", file, os.Getpid())
	f, err := os.OpenFile(filepath.Dir(file), os.O_WRONLY|unix.O_TMPFILE, mode)
	nameless := err == nil
	if errors.Is(err, unix.EOPNOTSUPP) {
		f, err = os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	}
	if err != nil {
		return err
	}
	err = write(f)
	if nameless && err == nil {
		if err = linkAs(f, file); overwrite && errors.Is(err, fs.ErrExist) {
			err = linkAs(f, temp) // which has to be a rename then
			nameless = err != nil
		}
	}
	err = errors.Join(err, f.Close())
	if nameless {
		return err
	}
	if err == nil {
		err = os.Rename(temp, file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// linkAs gives a file without a name one that is free.
func linkAs(f *os.File, name string) error {
	err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
	if err != nil {
		return &os.PathError{Op: "create", Path: name, Err: err}
	}
	return nil
}
