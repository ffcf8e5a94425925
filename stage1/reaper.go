package stage1

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// reaper is PID 1 of a PID namespace: the pod's, or with --pid=app that of one app. It keeps the pod's namespaces alive. When
// it dies, the kernel kills every process there; when the supervisor dies, it dies.
type reaper struct {
	pid   int
	pidfd *os.File
	own   func(namespace string) bool // birth.own
	ns    map[string]*os.File         // open namespaces by libcontainer's names
	ready *os.File                    // where it says that it is
}

// namespaces are the kinds that a pod's apps share, with the flag for who clones gantry-init.
var namespaces = []struct {
	name, file string
	flag       uintptr
}{
	{"user", "user", syscall.CLONE_NEWUSER},
	{"pid", "pid", syscall.CLONE_NEWPID},
	{"network", "net", 0}, // gantry-init makes it: that takes the kernel half a millisecond, in which the supervisor mounts
	{"ipc", "ipc", syscall.CLONE_NEWIPC},
	{"uts", "uts", syscall.CLONE_NEWUTS},
}

// wanted says which namespaces the pod has of its own.
func wanted(m *pods.Manifest, name string) bool {
	switch name {
	case "network":
		return m.Net != pods.NetHost
	case "ipc":
		return m.IPC != "host"
	case "pid":
		return m.PID != pods.PIDHost
	case "uts":
		return m.Stage1 != pods.Stage1Chroot
	case "user":
		return m.Users == pods.UsersPrivate
	}
	return true
}

// startReaper makes the pod's namespaces by starting gantry-init in them, which is to be awaited.
func startReaper(m *pods.Manifest, users *pods.UserRange, program string, avenger *avenger) (*reaper, error) {
	b := birth{program: program, own: func(name string) bool { return wanted(m, name) }}
	if wanted(m, "uts") {
		b.argv = append(b.argv, "--hostname="+m.Hostname)
	}
	if users != nil {
		mapUsers(&b.sys, users)
		b.argv = append(b.argv, "--become-root")
	}
	if avenger != nil {
		defer avenger.program.Close()
		b.files = []*os.File{avenger.program, avenger.dir, avenger.lock}
		b.argv = append(b.argv, "--avenger-fd=5", "--dir-fd=6", "--lock-fd=7", "--", "gantry-stage1", "kill", avenger.path)
	}
	r, err := bear(b)
	if err != nil {
		return nil, fmt.Errorf("start the pod's reaper: %w", err)
	}
	return r, nil
}

// birth is how a reaper comes to be.
type birth struct {
	program string
	own     func(namespace string) bool // whether it has one of its own
	argv    []string                    // beyond what every reaper is told
	files   []*os.File                  // its descriptors from 5 on
	users   *os.File                    // the user namespace that its PID namespace, all that it is born with, belongs to; nil: its maker's
	sys     syscall.SysProcAttr
}

func bear(b birth) (*reaper, error) {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("open pidfd of the supervisor: %w", err)
	}
	supervisor := os.NewFile(uintptr(self), "supervisor")
	defer supervisor.Close()
	ready, readyW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer readyW.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(err, ready.Close())
	}
	defer null.Close()
	r := &reaper{own: b.own, ns: map[string]*os.File{}, ready: ready}
	if err := r.start(b, []*os.File{null, null, null, supervisor, readyW}); err != nil {
		return nil, errors.Join(err, ready.Close())
	}
	for _, n := range namespaces {
		if b.own(n.name) && n.flag != 0 {
			if err := r.open(n.name, n.file); err != nil {
				return nil, errors.Join(err, r.discard())
			}
		}
	}
	return r, nil
}

// await returns when the reaper's namespaces can be joined and the host name is set.
func (r *reaper) await() error {
	defer r.ready.Close()
	if err := awaitReady(r.ready); err != nil {
		return err
	}
	if !r.own("network") {
		return nil
	}
	return r.open("network", "net")
}

// discard ends a reaper that nobody else knows of.
func (r *reaper) discard() error {
	r.kill()
	_, err := unix.Wait4(r.pid, nil, 0, nil)
	r.close()
	return err
}

// avenger is what a reaper in the host's PID namespace starts when the supervisor is dead: gantry-stage1, which kills the pod's processes.
// It holds the pod's life until then.
type avenger struct {
	program, dir, lock *os.File
	path               string // of the pod directory
}

// avenger is nil for a pod with a PID namespace of its own, which ends with the reaper.
func (s *supervisor) avenger() (*avenger, error) {
	if s.manifest.PID != pods.PIDHost {
		return nil, nil
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	return &avenger{program: self, dir: s.opts.Dir, lock: s.opts.Lock, path: s.opts.Path}, nil
}

// awaitReady reads the one line that gantry-init says: "ready", or what went wrong.
func awaitReady(f *os.File) error {
	line := make([]byte, 256)
	n, err := f.Read(line)
	if errors.Is(err, io.EOF) {
		return errors.New("gantry-init died")
	}
	if err != nil {
		return err
	}
	if msg := strings.TrimSpace(string(line[:n])); msg != "ready" {
		return errors.New(msg)
	}
	return nil
}

func (r *reaper) start(b birth, files []*os.File) error {
	pidfd := -1
	sys := &b.sys
	sys.Setsid, sys.PidFD = true, &pidfd
	for _, n := range namespaces {
		if b.own(n.name) {
			sys.Cloneflags |= n.flag
		}
	}
	argv := []string{"gantry-init", "reap", "--supervisor-fd=3", "--ready-fd=4"}
	if b.own("network") {
		argv = append(argv, "--unshare-net")
	}
	argv = append(argv, b.argv...)
	if b.users != nil {
		return r.startInside(b, argv, files)
	}
	pid, err := spawn(b.program, argv, append(files, b.files...), sys)
	if err != nil {
		return err
	}
	r.pid, r.pidfd = pid, os.NewFile(uintptr(pidfd), "reaper")
	return nil
}

// startInside leaves it to gantry-init to make the PID namespace, in b.users: a program of one thread can join that. The process that goes on there
// is another one, our child too.
func (r *reaper) startInside(b birth, argv []string, files []*os.File) error {
	born, bornW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer born.Close()
	argv = append(argv, "--users-fd=5", "--born-fd=6")
	first, err := spawn(b.program, argv, append(files, b.users, bornW), &syscall.SysProcAttr{})
	_ = bornW.Close()
	if err != nil {
		return err
	}
	said := make([]byte, 256)
	n, _ := born.Read(said)
	_, _ = unix.Wait4(first, nil, 0, nil)
	if r.pid, err = strconv.Atoi(string(said[:n])); err != nil {
		return fmt.Errorf("gantry-init: %q", said[:n])
	}
	pidfd, err := unix.PidfdOpen(r.pid, 0)
	if err != nil {
		_ = unix.Kill(r.pid, unix.SIGKILL) // our child, and not reaped
		_, _ = unix.Wait4(r.pid, nil, 0, nil)
		return fmt.Errorf("open pidfd of gantry-init: %w", err)
	}
	r.pidfd = os.NewFile(uintptr(pidfd), "reaper")
	return nil
}

func (r *reaper) open(namespace, file string) error {
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", r.pid, file))
	if err != nil {
		return err
	}
	r.ns[namespace] = f
	return nil
}

// paths are the namespaces as another process opens them: descriptors of this one, which mean nothing once it is dead.
func (r *reaper) paths() map[string]string {
	paths := map[string]string{}
	for name, f := range r.ns {
		paths[name] = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
	}
	if paths["user"] != "" {
		// libcontainer takes the number after /proc/ for a process in the namespace, whatever comes behind, and reads that one's mappings.
		paths["user"] = fmt.Sprintf("/proc/%d/ns/user", r.pid)
	}
	return paths
}

// kill ends the reaper, and with it every process of its PID namespace.
func (r *reaper) kill() {
	_ = unix.PidfdSendSignal(int(r.pidfd.Fd()), unix.SIGKILL, nil, 0) // ESRCH: it is dead already
}

func (r *reaper) close() {
	for _, f := range r.ns {
		_ = f.Close()
	}
	_ = r.pidfd.Close()
	_ = r.ready.Close() // it may not have been awaited
}
