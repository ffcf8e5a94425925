package launch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// readRequest reads a line from control, and the descriptors that come with it. It returns nil where there is none, or none that can be
// read. The request then names its descriptors by their numbers in this process. It is not held where the line that lets go came with it.
func readRequest(control *os.File) (*pods.Launch, error) {
	lines, fds, err := receive(control)
	if len(lines) == 0 || err != nil {
		return nil, err
	}
	line, more, _ := bytes.Cut(lines, []byte{'\n'})
	req := &pods.Launch{}
	if err := json.Unmarshal(line, req); err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	req.Held = req.Held && len(more) == 0
	for i := range req.Apps {
		a := &req.Apps[i]
		numbers := []*int{&a.Stdin, &a.Stdout, &a.Stderr}
		for j := range a.Sockets {
			numbers = append(numbers, &a.Sockets[j].FD)
		}
		for _, n := range numbers {
			if *n >= len(fds) {
				return nil, fmt.Errorf("read request: app %q has descriptor %d of %d", a.Name, *n, len(fds))
			}
			if *n >= 0 {
				*n = fds[*n]
			}
		}
	}
	return req, nil
}

// receive reads up to the end of a line, or of the next one; nothing, where the other end is closed before it begins.
func receive(control *os.File) (line []byte, fds []int, err error) {
	data, rights := make([]byte, 16<<10), make([]byte, unix.CmsgSpace(4*pods.MaxRights))
	for !bytes.HasSuffix(line, []byte{'\n'}) {
		n, nRights, flags, _, err := unix.Recvmsg(int(control.Fd()), data, rights, unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, nil, fmt.Errorf("read request: %w", err)
		case flags&unix.MSG_CTRUNC != 0:
			return nil, nil, errors.New("read request: too few files may be open for its descriptors (ulimit -n, LimitNOFILE= of a unit)")
		case n == 0 && len(line) == 0:
			return nil, nil, nil
		case n == 0:
			return nil, nil, errors.New("read request: it ends within its line")
		}
		line = append(line, data[:n]...)
		messages, err := unix.ParseSocketControlMessage(rights[:nRights])
		if err != nil {
			return nil, nil, fmt.Errorf("read request: %w", err)
		}
		for i := range messages {
			some, err := unix.ParseUnixRights(&messages[i])
			if err != nil {
				return nil, nil, fmt.Errorf("read request: %w", err)
			}
			fds = append(fds, some...)
		}
	}
	return line, fds, nil
}
