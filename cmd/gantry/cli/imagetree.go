package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image"
)

type treeOptions struct{ rootfsOnly, overwrite bool }

// newImageTreeCommand makes extract and render. They were two in rkt, whose images could depend on others, which render
// had laid below; the layers of an image here are always all of it.
func newImageTreeCommand(e *env, name string) *cobra.Command {
	o := treeOptions{}
	cmd := verb(name+" [flags] IMAGE DIR", "Unpack an image into DIR: manifest, config and rootfs", between(2, 2))
	cmd.Flags().BoolVar(&o.rootfsOnly, "rootfs-only", false, "DIR itself becomes the root file system")
	cmd.Flags().BoolVar(&o.overwrite, "overwrite", false, "replace DIR if it is there")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return runImageTree(cmd.Context(), e, o, args[0], args[1])
	}
	return cmd
}

// runImageTree unpacks beside DIR and renames, so that DIR is whole or what it was. Until then nobody but root can reach the
// programs in there, of which some may be setuid.
func runImageTree(ctx context.Context, e *env, o treeOptions, name, dir string) (err error) {
	if err := needHost(); err != nil { // owners and devices
		return err
	}
	r, i, err := getImage(ctx, e, name)
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if _, err := os.Lstat(dir); err == nil && !o.overwrite {
		return withHint(fmt.Errorf("unpack into %s: %w", dir, fs.ErrExist), "--overwrite replaces it")
	}
	temp, release, err := treeStage(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer release()
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	made := filepath.Join(temp, "image")
	if o.rootfsOnly {
		err = r.Store.Extract(ctx, i, made)
	} else {
		err = unpackImage(ctx, r.Store, i, made)
	}
	if err != nil {
		return err
	}
	return replaceDir(made, dir, o.overwrite)
}

// stagePrefix of directories in which a tree is unpacked. The number behind it is random.
const stagePrefix = ".gantry-unpack-"

// treeStage makes a directory beside what is to be made, locked as long as its maker lives, and removes those there whose maker was
// killed: a directory needs a name, and gc knows no place but its own.
func treeStage(parent string) (dir string, release func(), err error) {
	old, err := os.ReadDir(parent)
	if err != nil {
		return "", nil, err
	}
	for _, e := range old {
		if path := filepath.Join(parent, e.Name()); e.IsDir() && strings.HasPrefix(e.Name(), stagePrefix) {
			if f, err := lockStage(path); err == nil {
				os.RemoveAll(path) // whose removal is a courtesy
				f.Close()
			}
		}
	}
	for {
		if dir, err = os.MkdirTemp(parent, stagePrefix); err != nil { // 0700
			return "", nil, err
		}
		f, err := lockStage(dir)
		if err == nil {
			return dir, func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, fs.ErrNotExist) { // it looked like one whose maker is dead, and another took it
			return "", nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
}

// lockStage locks a directory of ours, if nobody has it and it still has that name.
func lockStage(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	var locked, named unix.Stat_t
	err = errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.Fstat(int(f.Fd()), &locked), unix.Lstat(dir, &named))
	if err == nil && (locked.Ino != named.Ino || int(locked.Uid) != unix.Geteuid()) {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// unpackImage writes what rkt wrote of an image: a manifest, as fetched, beside its rootfs; and the config, which is a document of
// its own today. The directory is root's alone.
func unpackImage(ctx context.Context, s *image.Store, i *image.Image, dir string) error {
	manifest, err := s.Blob(i.ID)
	if err != nil {
		return err
	}
	config, err := s.Blob(i.Manifest.Config.Digest)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for name, data := range map[string][]byte{"manifest": manifest, "config": config} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return s.Extract(ctx, i, filepath.Join(dir, "rootfs"))
}

// replaceDir gives made the name dir. What had it is then at made, for the caller to remove.
func replaceDir(made, dir string, overwrite bool) error {
	err := unix.Renameat2(unix.AT_FDCWD, made, unix.AT_FDCWD, dir, unix.RENAME_NOREPLACE)
	if overwrite && errors.Is(err, fs.ErrExist) {
		err = unix.Renameat2(unix.AT_FDCWD, made, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: made, New: dir, Err: err}
	}
	return nil
}
