package pods

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A pod's name is a symbolic link names/<name> -> <uuid>, so that looking one up costs the same among ten pods and
// ten thousand. It is a cache of what the pod.json files say: a link whose pod is over, or gone, binds nobody.

// claimName makes name point to uuid. The lock on the directory orders two that want one name.
func (s *Store) claimName(name, uuid string) error {
	if name == "" {
		return nil
	}
	if err := CheckName(name); err != nil {
		return err
	}
	if err := os.MkdirAll(s.namesPath(), 0o700); err != nil {
		return err
	}
	unlock, err := lockDir(s.namesPath())
	if err != nil {
		return err
	}
	defer unlock()
	link := filepath.Join(s.namesPath(), name)
	if owner, err := os.Readlink(link); err == nil && s.alive(owner) {
		return fmt.Errorf("%w: %q is pod %s", ErrNameTaken, name, owner)
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(uuid, link)
}

func (s *Store) alive(uuid string) bool {
	p, err := open(s.PodPath(uuid), uuid)
	if err != nil {
		return false
	}
	defer p.Close()
	state, err := p.State()
	return err == nil && !state.Over()
}

// dropName removes the name of p if it still is p's. What stays by accident binds nobody.
func (s *Store) dropName(p *Pod) {
	m, err := p.Manifest()
	if err != nil || m.Name == "" {
		return
	}
	unlock, err := lockDir(s.namesPath())
	if err != nil {
		return
	}
	defer unlock()
	link := filepath.Join(s.namesPath(), m.Name)
	if owner, err := os.Readlink(link); err == nil && owner == p.UUID {
		_ = os.Remove(link)
	}
}

func lockDir(path string) (unlock func(), err error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return func() { _ = d.Close() }, nil
}
