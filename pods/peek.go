package pods

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Glance is what a list shows of a pod. What does not exist yet is nil.
type Glance struct {
	State    State
	Manifest *Manifest
	Run      *Run
	Apps     []*App // in the order of the command line
}

// Glancer reads one pod after the other. It keeps its buffers, so it is for one goroutine.
type Glancer struct {
	store *Store
	file  []byte
	names []byte
}

// Glancer makes one.
func (s *Store) Glancer() *Glancer {
	return &Glancer{store: s, file: make([]byte, 4096), names: make([]byte, 2048)}
}

// Glance is Glancer.Glance for one pod alone.
func (s *Store) Glance(uuid string) (*Glance, error) { return s.Glancer().Glance(uuid) }

// Glance reads the pod uuid as State, Manifest, Run and Apps do, with a sixth of their system calls: a list of a
// thousand pods is made of little else. ErrNotFound. A State beside an error is right.
func (r *Glancer) Glance(uuid string) (*Glance, error) {
	dir, err := unix.Open(r.store.PodPath(uuid), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, uuid)
	}
	if err != nil {
		return nil, fmt.Errorf("open pod %s: %w", uuid, err)
	}
	defer unix.Close(dir)
	g := &Glance{}
	unread, err := r.readState(g, dir)
	if err != nil {
		return g, fmt.Errorf("read state of pod %s: %w", uuid, err)
	}
	if g.State == Preparing || g.State == Aborted && errors.Is(unread, fs.ErrNotExist) {
		return g, nil
	}
	if err = unread; err == nil {
		err = r.readApps(g, dir)
	}
	if err != nil {
		return g, fmt.Errorf("read pod %s: %w", uuid, err)
	}
	return g, nil
}

// readState is Pod.State for an open directory; unread is why there is no manifest.
func (r *Glancer) readState(g *Glance, dir int) (unread, err error) {
	lock, err := unix.Openat(dir, lockFile, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		g.State = Aborted
		return r.readManifest(g, dir), nil
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(lock)
	held, err := heldFD(lock)
	for err == nil {
		var f Facts
		f, unread = r.facts(g, dir, held)
		before := held
		if held, err = heldFD(lock); err == nil && held == before {
			f.Held = held
			g.State = f.State()
			return unread, nil
		}
	}
	return nil, err
}

func (r *Glancer) facts(g *Glance, dir int, held bool) (f Facts, unread error) {
	unread = r.readManifest(g, dir)
	f.Manifest = !errors.Is(unread, fs.ErrNotExist)
	run := &Run{}
	err := r.readAt(dir, runFile, run)
	f.Run = !errors.Is(err, fs.ErrNotExist)
	// With nobody at it, a pod that was run is exited, whether exit.json says so or not.
	f.Exit = (held || !f.Run || !f.Manifest) && existsAt(dir, exitFile)
	if g.Run = nil; err == nil {
		g.Run = run
		f.Stale = !f.Exit && run.BootID != BootID()
	}
	if f.Manifest && !f.Run && !f.Exit {
		f.Fleeting = fleeting(g.Manifest, unread)
	}
	return f, unread
}

// readManifest leaves an empty one where there is one that cannot be read.
func (r *Glancer) readManifest(g *Glance, dir int) error {
	g.Manifest = &Manifest{}
	err := r.readAt(dir, manifestFile, g.Manifest)
	if errors.Is(err, fs.ErrNotExist) {
		g.Manifest = nil
	}
	return err
}

func (r *Glancer) readApps(g *Glance, dir int) error {
	names, err := r.listAt(dir, appsDir)
	if err != nil {
		return err
	}
	for _, name := range names {
		a := &App{}
		err := r.readAt(dir, filepath.Join(appsDir, name, AppFile), a)
		if errors.Is(err, fs.ErrNotExist) {
			continue // being added, or half removed
		}
		if err != nil {
			return err
		}
		g.Apps = append(g.Apps, a)
	}
	slices.SortFunc(g.Apps, func(a, b *App) int { return a.Order - b.Order })
	return nil
}

func existsAt(dir int, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// readAt reads one file, following no link. These are regular files of a local file system: a read that gives less than it could is
// the last one.
func (r *Glancer) readAt(dir int, name string, into any) error {
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer unix.Close(fd)
	size := 0
	for {
		n, err := unix.Read(fd, r.file[size:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read %s: %w", name, err)
		}
		if size += n; size > maxFile {
			return fmt.Errorf("read %s: more than %d bytes", name, maxFile)
		}
		if size < len(r.file) {
			break
		}
		r.file = append(r.file, make([]byte, size)...)
	}
	if err := Unmarshal(r.file[:size], into); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// listAt lists the directory name; one that is missing is empty.
func (r *Glancer) listAt(dir int, name string) ([]string, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer unix.Close(fd)
	var names []string
	for {
		n, err := unix.ReadDirent(fd, r.names)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("list %s: %w", name, err)
		}
		if n == 0 && err == nil {
			return slices.DeleteFunc(names, func(s string) bool { return strings.HasPrefix(s, ".") }), nil
		}
		if n > 0 {
			_, _, names = unix.ParseDirent(r.names[:n], -1, names)
		}
	}
}
