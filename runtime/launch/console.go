package launch

import (
	"fmt"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// console is how the terminal of a process comes here: libcontainer makes it inside the app, from the app's own
// devpts, and sends its master. A nil console is that of a process without a terminal.
type console struct{ ours, theirs *os.File }

// newConsole has process made a terminal.
func newConsole(process *libcontainer.Process) (*console, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	c := &console{ours: os.NewFile(uintptr(pair[0]), "console"), theirs: os.NewFile(uintptr(pair[1]), "console")}
	process.ConsoleSocket = c.theirs
	return c, nil
}

// receive returns the master, once the process has been started.
func (c *console) receive() (*os.File, error) {
	if c == nil {
		return nil, nil
	}
	return receiveFile(c.ours)
}

func (c *console) close() {
	if c != nil {
		_ = c.ours.Close()
		_ = c.theirs.Close()
	}
}

// receiveFile receives one descriptor.
func receiveFile(socket *os.File) (*os.File, error) {
	data, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), data, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("receive terminal: %d messages: %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("receive terminal: %d descriptors: %w", len(fds), err)
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}
