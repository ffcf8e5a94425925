package stage1

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// launcher is a running gantry-launch. It is started before its request is known, so that its own start-up runs while
// the supervisor makes mounts, namespaces and networks.
//
//	stage1                          gantry-launch
//	  ├── fork ──────────────────────▶ │ loads libcontainer
//	  ├── pods.Launch, a line ───────▶ │ starts the apps
//	  │ ◀── pods.Launched, a line ──── │ one per app
//	  │ ◀── end of file ────────────── │ exits: the apps become the supervisor's children
//
// Its end of the socket is how it learns that the supervisor died.
type launcher struct {
	pid    int
	socket *os.File
}

// firstStream is the descriptor of the launcher at which the apps' streams begin.
const firstStream = 4

// startLauncher starts program; streams become its descriptors from firstStream on.
func startLauncher(program string, streams []*os.File) (*launcher, error) {
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
	proc, err := os.StartProcess(program, []string{"gantry-launch", "start"}, &os.ProcAttr{
		Env:   []string{},
		Dir:   "/",
		Files: append([]*os.File{null, null, os.Stderr, theirs}, streams...),
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start gantry-launch: %w", err), ours.Close())
	}
	l := &launcher{pid: proc.Pid, socket: ours} // before Release, which forgets the PID
	return l, proc.Release()
}

// start hands over the request; answers arrive at answer, and then done is called with nil or what broke. Both are called from a goroutine.
func (l *launcher) start(req *pods.Launch, answer func(pods.Launched), done func(error)) error {
	data, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if _, err := l.socket.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("ask gantry-launch: %w", err)
	}
	go func() {
		done(l.receive(answer))
	}()
	return nil
}

func (l *launcher) receive(answer func(pods.Launched)) error {
	defer l.socket.Close()
	for dec := json.NewDecoder(l.socket); ; {
		var a pods.Launched
		if err := dec.Decode(&a); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
				return nil
			}
			return fmt.Errorf("hear from gantry-launch: %w", err)
		}
		answer(a)
	}
}

// abandon ends a launcher that was given nothing to do.
func (l *launcher) abandon() {
	_ = l.socket.Close()
}
