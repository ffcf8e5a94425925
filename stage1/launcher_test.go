package stage1

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// TestSend: a request takes as many descriptors along as it needs, whatever the kernel lets go with one message.
func TestSend(t *testing.T) {
	for _, n := range []int{0, 1, pods.MaxRights, pods.MaxRights + 1, 3 * pods.MaxRights} {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
		files := make([]*os.File, n)
		for i := range files {
			files[i] = os.Stdin
		}
		line := append(bytes.Repeat([]byte("x"), 1<<20), '\n')
		l, err := newLauncher(0, ours)
		if err != nil {
			t.Fatal(err)
		}
		sent := make(chan error, 1)
		go func() {
			err := l.send(line, files)
			_ = l.socket.Close()
			sent <- err
		}()
		var got []byte
		data, rights, count := make([]byte, 1<<16), make([]byte, unix.CmsgSpace(4*pods.MaxRights)), 0
		for {
			k, nRights, flags, _, err := unix.Recvmsg(int(theirs.Fd()), data, rights, unix.MSG_CMSG_CLOEXEC)
			if err != nil || flags&unix.MSG_CTRUNC != 0 {
				t.Fatalf("receive: flags %x, %v", flags, err)
			}
			if k == 0 {
				break
			}
			got = append(got, data[:k]...)
			messages, err := unix.ParseSocketControlMessage(rights[:nRights])
			if err != nil {
				t.Fatal(err)
			}
			for i := range messages {
				fds, err := unix.ParseUnixRights(&messages[i])
				if err != nil {
					t.Fatal(err)
				}
				count += len(fds)
				for _, fd := range fds {
					_ = unix.Close(fd)
				}
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		_ = theirs.Close()
		if count != n || !bytes.Equal(bytes.TrimLeft(got, " "), line) {
			t.Errorf("%d descriptors became %d; %d bytes", n, count, len(got))
		}
	}
}
