package launch

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// lastStep is gantry-init exec as seen from outside: what libcontainer executes in place of the app's program, which
// it then becomes. It reports why it could not.
type lastStep struct {
	program  *os.File // gantry-init, sealed; not ours to close
	filter   *os.File // pipe that holds the seccomp filter, or nil
	flags    uint32
	guard    guard       // of a command that enters
	follow   unix.Signal // what the program gets when who started it dies; 0: nothing
	status   *os.File    // read end
	statusW  *os.File
	statusFD int      // its number in the process
	noise    *os.File // read end of what is the process's stderr until it becomes the app's program; nil: nobody reads that anyway
	noiseW   *os.File
}

// standard is the number of descriptors that every process has.
const standard = 3

// newLastStep makes ready what gantry-init needs; f may be nil.
func newLastStep(program *os.File, f *filter) (_ *lastStep, err error) {
	l := &lastStep{program: program}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if f != nil {
		if l.filter, err = f.pipe(); err != nil {
			return nil, fmt.Errorf("hand over seccomp filter: %w", err)
		}
		l.flags = f.flags
	}
	l.status, l.statusW, err = os.Pipe()
	return l, err
}

// wrap has process execute gantry-init by its descriptor; its streams must be settled. Both of /proc/self/fd/N resolve in the app's own mount
// namespace: to a file that has no path there.
func (l *lastStep) wrap(process *libcontainer.Process) error {
	theirs := len(process.ExtraFiles) // the app's sockets
	first := standard + theirs
	l.statusFD = first + 1
	args := []string{"/proc/self/fd/" + strconv.Itoa(first), "exec", "--status-fd=" + strconv.Itoa(l.statusFD)}
	if theirs > 0 {
		args = append(args, "--listen-fds="+strconv.Itoa(theirs))
	}
	process.ExtraFiles = append(process.ExtraFiles, l.program, l.statusW)
	if l.filter != nil {
		args = append(args, "--seccomp-fd="+strconv.Itoa(first+2), "--seccomp-flags="+strconv.FormatUint(uint64(l.flags), 10))
		process.ExtraFiles = append(process.ExtraFiles, l.filter)
	}
	if stderr, ok := process.Stderr.(*os.File); ok && stderr != nil {
		var err error
		if l.noise, l.noiseW, err = quietPipe(); err != nil {
			return err
		}
		args = append(args, "--stderr-fd="+strconv.Itoa(standard+len(process.ExtraFiles)))
		process.ExtraFiles, process.Stderr = append(process.ExtraFiles, stderr), l.noiseW
	}
	if l.follow != 0 {
		args = append(args, "--parent-death="+strconv.Itoa(int(l.follow)))
	}
	process.Args = append(append(args, "--"), process.Args...)
	return checkArguments(process)
}

// quietPipe is for what libcontainer, and Go's runtime in it, say when they fail half-way: words for their developers, beside the error that we
// return. Nobody has to read it: what does not fit is lost.
func quietPipe() (r, w *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, nil, os.NewSyscallError("pipe2", err)
	}
	return os.NewFile(uintptr(p[0]), "noise"), os.NewFile(uintptr(p[1]), "stderr"), nil
}

// explain says what err means, the end of a start, where libcontainer has no words for it and its second stage has.
func (l *lastStep) explain(err error) error {
	if said := readNow(l.status); said != "" {
		return parseStatus(strings.NewReader(said))
	}
	text := err.Error() + readNow(l.noise)
	for _, full := range []string{"esource temporarily unavailable", "errno=11"} {
		if strings.Contains(text, full) {
			return errors.New("there is no room for another process: a limit is reached, --pids or --ulimit=nproc of the app, or one of who called gantry")
		}
	}
	return err
}

// readNow reads what is in a pipe; nil has nothing.
func readNow(pipe *os.File) string {
	raw, err := pipe.SyscallConn()
	if err != nil {
		return ""
	}
	said, n := make([]byte, 64<<10), 0
	_ = raw.Read(func(fd uintptr) bool {
		n, _ = unix.Read(int(fd), said)
		return true // never wait: whoever writes may not be dead
	})
	return string(said[:max(n, 0)])
}

// followUs has the program die with this process: by SIGHUP where it has a terminal, as the kernel sends it to all of that one's session.
func (l *lastStep) followUs(terminal bool) {
	runtime.LockOSThread() // the signal is about the thread that starts it, which must not end before
	if l.follow = unix.SIGKILL; terminal {
		l.follow = unix.SIGHUP
	}
}

// wait returns nil when the app's own program has been executed.
func (l *lastStep) wait() error {
	if err := l.statusW.Close(); err != nil { // or our own end would keep the pipe open
		return err
	}
	l.statusW = nil
	return parseStatus(l.status)
}

func (l *lastStep) close() {
	l.guard.dismiss()
	for _, f := range []*os.File{l.filter, l.status, l.statusW, l.noise, l.noiseW} {
		if f != nil {
			_ = f.Close()
		}
	}
}
