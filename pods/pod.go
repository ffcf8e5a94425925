package pods

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods/atomicfile"
)

// Pod is an open pod directory. It is addressed by descriptor, so that it stays the same pod while it is
// being removed.
type Pod struct {
	UUID string
	root *os.Root
}

// OpenDir opens the pod directory at path; its name must be the pod's UUID. The caller closes it.
func OpenDir(path string) (*Pod, error) {
	uuid := filepath.Base(path)
	if !validUUID(uuid) {
		return nil, fmt.Errorf("%q is not a pod directory: its name is no UUID", path)
	}
	return open(path, uuid)
}

// OpenFile opens the pod directory that dir refers to, wherever its path leads by now.
func OpenFile(dir *os.File, uuid string) (*Pod, error) {
	return open(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), uuid)
}

func open(path, uuid string) (*Pod, error) {
	root, err := os.OpenRoot(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, uuid)
	}
	if err != nil {
		return nil, err
	}
	return &Pod{UUID: uuid, root: root}, nil
}

// Close releases the directory. Locks taken through the pod live on.
func (p *Pod) Close() error { return p.root.Close() }

// Root is the open directory; nothing in it may be written but by who docs/pods.md names.
func (p *Pod) Root() *os.Root { return p.root }

// Manifest reads pod.json. fs.ErrNotExist: the pod is not prepared.
func (p *Pod) Manifest() (*Manifest, error) {
	m := &Manifest{}
	return m, p.read(manifestFile, m)
}

// Run reads run.json. fs.ErrNotExist: the pod was not started.
func (p *Pod) Run() (*Run, error) {
	r := &Run{}
	return r, p.read(runFile, r)
}

// WriteRun writes run.json. Only stage1 calls it, once, before any other external effect.
func (p *Pod) WriteRun(r *Run) error {
	r.Version = Version
	return p.write(runFile, r)
}

// Net reads net.json. fs.ErrNotExist: nothing was attached.
func (p *Pod) Net() (*Net, error) {
	n := &Net{}
	return n, p.read(netFile, n)
}

// WriteNet writes net.json.
func (p *Pod) WriteNet(n *Net) error {
	n.Version = Version
	return p.write(netFile, n)
}

// Exit reads exit.json. fs.ErrNotExist: the pod did not end by itself.
func (p *Pod) Exit() (*Exit, error) {
	e := &Exit{}
	return e, p.read(exitFile, e)
}

// maxExit is what is reserved for exit.json: one block.
const maxExit = 4096

// ReserveExit takes the room that WriteExit needs: a disk that is full by then does not keep the pod from being exited.
func (p *Pod) ReserveExit() error {
	if err := atomicfile.Reserve(p.root, exitFile, maxExit); err != nil {
		return fmt.Errorf("reserve exit.json of pod %s: %w", p.UUID, err)
	}
	return nil
}

// WriteExit writes exit.json: with it the pod is exited as soon as the lock is free. What it has no room for is left out: the copy
// of what other files say, then the end of a long reason.
func (p *Pod) WriteExit(e *Exit) error {
	short := *e
	short.Version = Version
	data, err := Marshal(&short)
	if len(data) > maxExit && err == nil {
		short.Pod = nil
		data, err = Marshal(&short)
	}
	if len(data) > maxExit && err == nil {
		short.Reason = e.Reason[:min(len(e.Reason), maxExit/8)] // six bytes each at worst
		data, err = Marshal(&short)
	}
	if err == nil {
		err = atomicfile.WriteReserved(p.root, exitFile, 0o600, data)
	}
	if err != nil {
		return fmt.Errorf("write exit.json of pod %s: %w", p.UUID, err)
	}
	return nil
}

// Ready reports whether every app of the pod has been started; it stays true after the pod's end.
func (p *Pod) Ready() bool { return p.has(ReadyFile) }

// WriteReady says so. Only stage1 calls it, once, when the last app has executed its program.
func (p *Pod) WriteReady() error {
	f, err := p.root.OpenFile(ReadyFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write ready of pod %s: %w", p.UUID, err)
	}
	return f.Close()
}

// Apps reads every app of the pod, in the order of the command line.
func (p *Pod) Apps() ([]*App, error) {
	entries, err := fs.ReadDir(p.root.FS(), appsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var apps []*App
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // being deleted
		}
		a := &App{}
		err := p.read(filepath.Join(appsDir, e.Name(), AppFile), a)
		if errors.Is(err, fs.ErrNotExist) {
			continue // being added, or half removed
		}
		if err != nil {
			return nil, err
		}
		apps = append(apps, a)
	}
	slices.SortFunc(apps, func(a, b *App) int { return a.Order - b.Order })
	return apps, nil
}

// AppPath is the path of name in app's directory, relative to the pod's.
func AppPath(app, name string) string { return filepath.Join(appsDir, app, name) }

// VolumePath is the directory of an empty volume, or of a tmpfs that several mounts show, below the pod's.
func VolumePath(name string) string { return filepath.Join("volumes", name) }

// LastRun reads the newest record of a finished run of app, and how many runs there were. (nil, 0, nil): none yet.
func (p *Pod) LastRun(app string) (*AppRun, int, error) {
	entries, err := fs.ReadDir(p.root.FS(), AppPath(app, "runs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, err
	}
	runs := 0
	for _, e := range entries {
		var n int
		if _, err := fmt.Sscanf(e.Name(), "%d.json", &n); err == nil { // not so: being written
			runs = max(runs, n+1)
		}
	}
	if runs == 0 {
		return nil, 0, nil
	}
	r := &AppRun{}
	return r, runs, p.read(runPath(app, runs-1), r)
}

// keptRuns is how many records of an app's runs are kept: one that fails for a year fills no disk.
const keptRuns = 100

// WriteAppRun writes the record of app's n-th run (from 0), and drops an old one. Only stage1 calls it.
func (p *Pod) WriteAppRun(app string, n int, r *AppRun) error {
	r.Version = Version
	if err := p.root.Mkdir(AppPath(app, "runs"), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := p.write(runPath(app, n), r); err != nil || n < keptRuns {
		return err
	}
	for _, old := range []string{runPath(app, n-keptRuns), postStopPath(app, n-keptRuns)} {
		if err := p.root.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// WritePostStop writes how the hook ended that ran after app's n-th run. Only stage1 calls it.
func (p *Pod) WritePostStop(app string, n int, r *AppRun) error {
	r.Version = Version
	return p.write(postStopPath(app, n), r)
}

// PostStop reads what WritePostStop wrote. fs.ErrNotExist: the hook did not run, or not to its end.
func (p *Pod) PostStop(app string, n int) (*AppRun, error) {
	r := &AppRun{}
	return r, p.read(postStopPath(app, n), r)
}

func postStopPath(app string, n int) string {
	return AppPath(app, fmt.Sprintf("runs/%d.post-stop.json", n))
}

func runPath(app string, n int) string { return AppPath(app, fmt.Sprintf("runs/%d.json", n)) }

// Dropped reads what of app's output was dropped. fs.ErrNotExist: nothing.
func (p *Pod) Dropped(app string) (*Dropped, error) {
	d := &Dropped{}
	return d, p.read(droppedPath(app), d)
}

// WriteDropped says what of app's output was dropped. Only stage1 calls it.
func (p *Pod) WriteDropped(app string, d *Dropped) error {
	d.Version = Version
	if err := p.root.Mkdir("logs", 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return p.write(droppedPath(app), d)
}

func droppedPath(app string) string { return filepath.Join("logs", app+".dropped") }

// State reads the lock, the files, and the lock again, until both agree.
func (p *Pod) State() (State, error) {
	lock, err := p.root.OpenFile(lockFile, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return Aborted, nil // it died between mkdir and lock, or is half removed
	}
	if err != nil {
		return "", err
	}
	defer lock.Close()
	for {
		before, err := held(lock)
		if err != nil {
			return "", err
		}
		f := p.facts()
		after, err := held(lock)
		if err != nil {
			return "", err
		}
		if f.Held = after; before == after {
			return f.State(), nil
		}
	}
}

func (p *Pod) facts() facts {
	if p.has(exitFile) { // the last that is written: it decides alone
		return facts{Exit: true}
	}
	f := facts{Manifest: p.has(manifestFile)}
	run, err := p.Run()
	f.Run = !errors.Is(err, fs.ErrNotExist)
	f.Stale = err == nil && run.BootID != BootID()
	if f.Manifest && !f.Run {
		m, err := p.Manifest()
		f.Fleeting = fleeting(m, err)
	}
	return f
}

// fleeting is facts.Fleeting of what was read of pod.json. What another version of gantry wrote is not ours to give up.
func fleeting(m *Manifest, err error) bool {
	return err == nil && m.Run || errors.Is(err, ErrDamaged)
}

func (p *Pod) has(name string) bool {
	_, err := p.root.Lstat(name)
	return err == nil
}

// BootID is the kernel's random id of this boot; empty where /proc is missing.
func BootID() string { return bootID() }

// bootID reads it once: no process outlives its boot.
var bootID = sync.OnceValue(func() string {
	data, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // missing: no run.json is then of this boot, so nothing counts as running
	return strings.TrimSpace(string(data))
})
