package pods

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Glance is what a list shows of a pod.
type Glance struct {
	State State
	Digest
	Exit *Exit // nil: it has not ended, or its supervisor was killed
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

// Glance reads the pod uuid as State and a dozen other methods of Pod do, with a sixth of their system calls: a list of a
// thousand pods is made of little else. ErrNotFound. Beside an error is what could be read; a State there is right.
func (r *Glancer) Glance(uuid string) (*Glance, error) {
	dir, err := unix.Open(r.store.PodPath(uuid), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, uuid)
	}
	if err != nil {
		return nil, fmt.Errorf("open pod %s: %w", uuid, err)
	}
	defer unix.Close(dir)
	state, v, err := r.readState(dir)
	if err != nil {
		return &Glance{Digest: *NewDigest(nil, time.Time{}, nil, nil)}, fmt.Errorf("read state of pod %s: %w", uuid, err)
	}
	g := &Glance{State: state, Exit: v.exit}
	if v.exit != nil && v.exit.Pod != nil {
		g.Digest = *v.exit.Pod
		return g, nil
	}
	var apps []*App
	var net *Net
	unread := v.unread
	if unread == nil && v.manifest != nil {
		if apps, unread = r.readApps(dir); unread == nil && v.manifest.Net == NetCNI {
			net, unread = readFile[Net](r, dir, netFile)
		}
	}
	g.Digest = *NewDigest(v.manifest, v.started, apps, net)
	if unread != nil {
		return g, fmt.Errorf("read pod %s: %w", uuid, unread)
	}
	return g, nil
}

// view is what was read of a pod on the way to its state. What does not exist, or cannot be read, is nil.
type view struct {
	exit     *Exit // with Pod in it, the rest stays unread
	manifest *Manifest
	started  time.Time
	unread   error // why one of them could not be read
}

// readState is Pod.State for an open directory.
func (r *Glancer) readState(dir int) (State, view, error) {
	lock, err := unix.Openat(dir, lockFile, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		_, v := r.look(dir)
		return Aborted, v, nil
	}
	if err != nil {
		return "", view{}, err
	}
	defer unix.Close(lock)
	held, err := heldAt(lock, lifeByte)
	for err == nil {
		f, v := r.look(dir)
		before := held
		if held, err = heldAt(lock, lifeByte); err == nil && held == before {
			f.Held = held
			return f.State(), v, nil
		}
	}
	return "", view{}, err
}

// look reads the files that a state depends on.
func (r *Glancer) look(dir int) (facts, view) {
	exit, noExit := readFile[Exit](r, dir, exitFile)
	v := view{exit: exit, unread: noExit}
	if exit != nil && exit.Pod != nil {
		return facts{Exit: true}, v
	}
	manifest, noManifest := readFile[Manifest](r, dir, manifestFile)
	run, noRun := readFile[Run](r, dir, runFile)
	v.manifest, v.unread = manifest, cmp.Or(noManifest, noExit, noRun)
	f := facts{Manifest: manifest != nil || noManifest != nil, Run: run != nil || noRun != nil, Exit: exit != nil || noExit != nil}
	if run != nil {
		v.started = run.Started
		f.Stale = !f.Exit && run.BootID != BootID()
	}
	if f.Manifest && !f.Run && !f.Exit {
		f.Fleeting = fleeting(manifest, noManifest)
	}
	return f, v
}

func (r *Glancer) readApps(dir int) ([]*App, error) {
	names, err := r.listAt(dir, appsDir)
	if err != nil {
		return nil, err
	}
	var apps []*App
	for _, name := range names {
		a, err := readFile[App](r, dir, filepath.Join(appsDir, name, AppFile))
		if err != nil {
			return nil, err
		}
		if a != nil { // else it is being added, or half removed
			apps = append(apps, a)
		}
	}
	return apps, nil
}

// readFile reads one file, following no link. One that is not there is nil, and no error.
func readFile[T any](r *Glancer, dir int, name string) (*T, error) {
	into := new(T)
	err := r.readAt(dir, name, into)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return into, nil
}

// readAt decodes one file. These are regular files of a local file system: a read that gives less than it could is
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
	if err := decode(r.file[:size], into); err != nil {
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
