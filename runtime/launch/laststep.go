package launch

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// lastStep is gantry-init exec as seen from outside: what libcontainer executes in place of the app's program, which
// it then becomes. It reports why it could not.
type lastStep struct {
	program *os.File // gantry-init, sealed; not ours to close
	filter  *os.File // pipe that holds the seccomp filter, or nil
	flags   uint32
	follow  unix.Signal // what the program gets when who started it dies; 0: nothing
	status  *os.File    // read end
	statusW *os.File
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

// wrap has process execute gantry-init by its descriptor. Both of /proc/self/fd/N resolve in the app's own mount
// namespace: to a file that has no path there.
func (l *lastStep) wrap(process *libcontainer.Process) error {
	theirs := len(process.ExtraFiles) // the app's sockets
	first := standard + theirs
	args := []string{"/proc/self/fd/" + strconv.Itoa(first), "exec", "--status-fd=" + strconv.Itoa(first+1)}
	if theirs > 0 {
		args = append(args, "--listen-fds="+strconv.Itoa(theirs))
	}
	process.ExtraFiles = append(process.ExtraFiles, l.program, l.statusW)
	if l.filter != nil {
		args = append(args, "--seccomp-fd="+strconv.Itoa(first+2), "--seccomp-flags="+strconv.FormatUint(uint64(l.flags), 10))
		process.ExtraFiles = append(process.ExtraFiles, l.filter)
	}
	if l.follow != 0 {
		args = append(args, "--parent-death="+strconv.Itoa(int(l.follow)))
	}
	process.Args = append(append(args, "--"), process.Args...)
	return checkArguments(process)
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
	for _, f := range []*os.File{l.filter, l.status, l.statusW} {
		if f != nil {
			_ = f.Close()
		}
	}
}
