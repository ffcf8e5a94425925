package stage1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// maxCredentials is what systemd lets the credentials of one unit be together.
const maxCredentials = 1 << 20

// openCredentials gives every app a copy of the unit's credentials (LoadCredential=, SetCredential=) that its user alone can read: systemd's
// own are the user's that runs the supervisor. The copies lie in memory that only the pod's mount namespace has, and go with it.
func (s *supervisor) openCredentials() error {
	unit := os.Getenv("CREDENTIALS_DIRECTORY")
	if unit == "" {
		return nil
	}
	dir := filepath.Join(s.runDir, "credentials")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := mountSecrets(dir); err != nil {
		return fmt.Errorf("mount memory for credentials: %w", err)
	}
	s.undo.push("credentials", func(context.Context) error { return unix.Unmount(dir, unix.MNT_DETACH) })
	for a := range s.apps {
		uid, err := userOf(s.pod, a.Name)
		if err != nil {
			return err
		}
		if s.users != nil {
			uid += s.users.Base
		}
		own := filepath.Join(dir, a.Name)
		if err := copyCredentials(unit, own, int(uid)); err != nil {
			return fmt.Errorf("pass credentials to app %s: %w", a.Name, err)
		}
		a.files[pods.CredentialsDir] = own
		a.env = append(a.env, "CREDENTIALS_DIRECTORY="+pods.CredentialsDir)
	}
	return nil
}

// mountSecrets mounts memory that is not swapped out, where the kernel knows how (6.4).
func mountSecrets(dir string) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	err := unix.Mount("tmpfs", dir, "tmpfs", flags, "mode=0700,noswap")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("tmpfs", dir, "tmpfs", flags, "mode=0700")
	}
	return err
}

// copyCredentials copies the files of unit, which has no directories, to own, for uid to read and nobody to write.
func copyCredentials(unit, own string, uid int) error {
	from, err := os.OpenRoot(unit)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := os.Mkdir(own, 0o700); err != nil {
		return err
	}
	entries, err := fs.ReadDir(from.FS(), ".")
	if err != nil {
		return err
	}
	left := int64(maxCredentials)
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		n, err := copyCredential(from, e.Name(), filepath.Join(own, e.Name()), uid, left)
		if err != nil {
			return err
		}
		left -= n
	}
	return errors.Join(os.Chown(own, uid, -1), os.Chmod(own, 0o500))
}

func copyCredential(from *os.Root, name, to string, uid int, most int64) (n int64, err error) {
	in, err := from.Open(name)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if n, err = io.Copy(out, io.LimitReader(in, most+1)); err != nil {
		return n, err
	}
	if n > most {
		return n, fmt.Errorf("%s and others are more than %d bytes", name, maxCredentials)
	}
	return n, out.Chown(uid, -1)
}
