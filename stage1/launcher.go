package stage1

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// launcher is a running gantry-launch. It is started before its request is known, by stage0 where that becomes the supervisor, so that
// its own start-up runs while the pod is written and mounts, namespaces and networks are made.
//
//	stage0, stage1                  gantry-launch
//	  ├── fork ──────────────────────▶ │ loads libcontainer
//	  ├── pods.Launch, a line, and ──▶ │ starts the apps
//	  │   the descriptors it counts    │
//	  ├── an empty line, if held ────▶ │ executes their programs
//	  │ ◀── pods.Launched, a line ──── │ one per app
//	  │ ◀── end of file ────────────── │ exits: the apps become the supervisor's children
//
// Its end of the socket is how it learns that the supervisor died. It has a process group of its own: what the caller's terminal sends (Ctrl-C)
// is for the supervisor to hear, who stops the pod in order, and would end a launcher in the middle of a start.
type launcher struct {
	pid    int
	socket *net.UnixConn // waiting at it takes no thread
}

// newLauncher takes over the socket of a gantry-launch. On error that is gone.
func newLauncher(pid int, socket *os.File) (*launcher, error) {
	conn, err := net.FileConn(socket)
	_ = socket.Close() // conn has a descriptor of its own
	if err != nil {
		_, _ = unix.Wait4(pid, nil, 0, nil)
		return nil, fmt.Errorf("socket of gantry-launch: %w", err)
	}
	return &launcher{pid, conn.(*net.UnixConn)}, nil
}

// startLauncher starts program.
func startLauncher(program string) (*launcher, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "launcher"), os.NewFile(uintptr(pair[1]), "stage1")
	defer theirs.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	defer null.Close()
	pid, err := spawn(program, []string{"gantry-launch", "start"}, []*os.File{null, null, os.Stderr, theirs}, &syscall.SysProcAttr{Setpgid: true})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start gantry-launch: %w", err), ours.Close())
	}
	return newLauncher(pid, ours)
}

// answer is what the launcher says of one app, with the master of its terminal if it has one.
type answer struct {
	pods.Launched
	terminal *os.File
}

// start hands over the request, with the descriptors that it counts; each answer is passed to say, and then done is called with nil or
// what broke. Both are called from a goroutine.
func (l *launcher) start(req *pods.Launch, files []*os.File, say func(answer), done func(error)) error {
	data, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if err := l.send(append(data, '\n'), files); err != nil {
		return fmt.Errorf("ask gantry-launch: %w", err)
	}
	go func() {
		err := l.receive(say)
		_ = l.socket.Close()
		done(err)
	}()
	return nil
}

// send sends line, and the files with it. What of them has no room there comes before, each time with a space, which JSON does not see.
func (l *launcher) send(line []byte, files []*os.File) error {
	defer runtime.KeepAlive(files)
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	for ; len(fds) > pods.MaxRights; fds = fds[pods.MaxRights:] {
		if _, _, err := l.socket.WriteMsgUnix([]byte{' '}, unix.UnixRights(fds[:pods.MaxRights]...), nil); err != nil {
			return err
		}
	}
	if len(fds) > 0 {
		n, _, err := l.socket.WriteMsgUnix(line, unix.UnixRights(fds...), nil)
		if err != nil || n == len(line) {
			return err
		}
		line = line[n:]
	}
	_, err := l.socket.Write(line)
	return err
}

// release lets go the apps of a request that was held. A launcher that is dead says so in another way.
func (l *launcher) release() { _, _ = l.socket.Write([]byte{'\n'}) }

// receive reads lines until the launcher is done. A descriptor comes with the last byte of its app's line.
func (l *launcher) receive(say func(answer)) error {
	var line []byte
	data, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	for {
		n, nRights, _, _, err := l.socket.ReadMsgUnix(data, rights)
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("hear from gantry-launch: %w", err)
		}
		terminal, err := received(rights[:nRights])
		if err != nil {
			return err
		}
		line = append(line, data[:n]...)
		for {
			one, rest, whole := bytes.Cut(line, []byte{'\n'})
			if !whole {
				break
			}
			line = rest
			a := answer{terminal: terminal}
			if len(rest) > 0 {
				a.terminal = nil
			}
			if err := json.Unmarshal(one, &a.Launched); err != nil {
				return fmt.Errorf("hear from gantry-launch: %w", err)
			}
			say(a)
		}
	}
}

// received takes the descriptor out of a control message; nil without one.
func received(rights []byte) (*os.File, error) {
	if len(rights) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("receive terminal: %d messages: %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("receive terminal: %d descriptors: %w", len(fds), err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil { // its reader is woken up, and sits on no thread meanwhile
		return nil, err
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}

// dismissLauncher ends a launcher that was given nothing to do, and waits for it: it may be in a cgroup of ours.
func (s *supervisor) dismissLauncher() {
	if s.launcher == nil {
		return
	}
	_ = s.launcher.socket.Close()
	_ = unix.Kill(s.launcher.pid, unix.SIGKILL) // one that is stopped (SIGSTOP) would not end
	_, _ = unix.Wait4(s.launcher.pid, nil, 0, nil)
	s.launcher = nil
}
