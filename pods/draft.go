package pods

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gantryrun/gantry/pods/atomicfile"
)

// Draft is a pod that stage0 is writing. Its life lock is held from before it has a name until Commit hands it on
// or Discard drops it.
type Draft struct {
	*Pod
	store *Store
	lock  *Lock
}

// NewUUID returns a random (version 4) UUID.
func NewUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails since Go 1.24
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Draft starts a pod named uuid. The caller ends it with Commit or Discard; if the process dies, gc removes it.
func (s *Store) Draft(uuid string) (*Draft, error) {
	if err := os.MkdirAll(s.Path(), 0o700); err != nil {
		return nil, err
	}
	born := filepath.Join(s.Path(), newPrefix+uuid)
	for {
		d, err := s.bear(born, uuid)
		if !errors.Is(err, fs.ErrNotExist) {
			return d, err
		}
		// gc took the empty directory for one whose maker died: again.
	}
}

func (s *Store) bear(born, uuid string) (_ *Draft, err error) {
	if err := os.Mkdir(born, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(born)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Close(), os.RemoveAll(born))
		}
	}()
	lock, err := lockNew(root)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(born, s.PodPath(uuid)); err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	if err := root.Mkdir(appsDir, 0o700); err != nil {
		return nil, errors.Join(err, lock.Release(), os.RemoveAll(s.PodPath(uuid)))
	}
	return &Draft{Pod: &Pod{UUID: uuid, root: root}, store: s, lock: lock}, nil
}

// Path is the draft's directory; it is the pod's from the first moment.
func (d *Draft) Path() string { return d.store.PodPath(d.UUID) }

// WriteFile writes a file of the draft: a frozen conflist, an app's config.json. Parents below the pod directory are made.
func (d *Draft) WriteFile(name string, data []byte) error {
	if err := d.root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return d.root.WriteFile(name, data, 0o600) // not yet committed: nobody reads it before pod.json is there
}

// AddApp writes app.json; with it the app is part of the pod, which others may be reading (Store.Amend): it is there whole or not at all.
// Its config.json must be there already.
func (d *Draft) AddApp(a *App) error {
	a.Version = Version
	if err := d.root.MkdirAll(AppPath(a.Name, ""), 0o700); err != nil {
		return err
	}
	return d.write(AppPath(a.Name, AppFile), a)
}

// Commit writes pod.json and gives the pod its name, and hands the life lock to the caller: the pod is
// "prepared" once the lock is released, "starting" as long as it is held. With durable, everything that was written is on disk
// before Commit returns. On error the draft still wants Discard. ErrNameTaken: another pod that is not over has the name.
func (d *Draft) Commit(m *Manifest, durable bool) (*Lock, error) {
	m.Version, m.UUID = Version, d.UUID
	if durable {
		if err := syncTree(d.root); err != nil {
			return nil, fmt.Errorf("sync pod %s: %w", d.UUID, err)
		}
	}
	if err := d.store.claimName(m.Name, d.UUID); err != nil {
		return nil, err
	}
	data, err := Marshal(m)
	if err != nil {
		return nil, err
	}
	if err := atomicfile.WriteIn(d.root, manifestFile, 0o600, data, durable); err != nil {
		return nil, fmt.Errorf("commit pod %s: %w", d.UUID, err)
	}
	return d.lock, nil
}

// Discard removes a draft that was not committed.
func (d *Draft) Discard() error {
	return errors.Join(d.store.Remove(d.Pod), d.lock.Release(), d.Close())
}

// syncTree writes every file and directory below root to disk. The lock file carries nothing.
func syncTree(root *os.Root) error {
	return fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() && !e.Type().IsRegular() {
			return err
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
