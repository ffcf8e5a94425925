package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// lossyDisk is the file "disk" in a FUSE file system of this process, below a loop device: a disk with a cache of its own, which keeps
// what it was asked to flush, and of what came after that, when the power goes, any part in any order.
type lossyDisk struct {
	dev     *os.File
	current *os.File // what the disk says that it holds
	size    int64

	mu      sync.Mutex
	base    *os.File // what it held at the last flush
	pending []diskWrite
	// The power goes with the countdown'th write from now on.
	countdown int
	share     float64 // of the writes since the last flush that are kept
	gone      chan loss
}

// loss is what is left of a disk, in a file, without some of the writes that were not flushed.
type loss struct {
	file      string
	lost, all int
	err       error
}

type diskWrite struct {
	at   int64
	data []byte
}

// Of linux/fuse.h: opcodes, and flags of FUSE_INIT.
const (
	fuseLookup, fuseForget, fuseGetattr                   = 1, 2, 3
	fuseOpen, fuseRead, fuseWrite, fuseRelease, fuseFsync = 14, 15, 16, 18, 20
	fuseFlush, fuseInit, fuseInterrupt, fuseBatchForget   = 25, 26, 36, 42
	fuseBigWrites                                         = 1 << 5
	fuseInHeader, fuseDiskNode, fuseMaxWrite              = 40, 2, 128 << 10
)

// newLossyDisk serves the file image at dir/disk, until the test ends.
func newLossyDisk(t *testing.T, image, dir string) *lossyDisk {
	t.Helper()
	d := &lossyDisk{}
	var err error
	if d.current, err = os.OpenFile(image, os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	sh(t, "cp", "--sparse=always", image, image+".base")
	if d.base, err = os.OpenFile(image+".base", os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	info, err := d.current.Stat()
	if err != nil {
		t.Fatal(err)
	}
	d.size = info.Size()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no FUSE on this machine: %v", err)
	}
	d.dev = os.NewFile(uintptr(fd), "/dev/fuse")
	if err := unix.Mount("lossy", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		t.Fatalf("mount fuse: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	go d.serve()
	return d
}

// serve ends when the file system is unmounted.
func (d *lossyDisk) serve() {
	buf := make([]byte, fuseMaxWrite+4096)
	for {
		n, err := unix.Read(int(d.dev.Fd()), buf)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil || n < fuseInHeader {
			return
		}
		le := binary.LittleEndian
		opcode, unique, node := le.Uint32(buf[4:]), le.Uint64(buf[8:]), le.Uint64(buf[16:])
		if opcode == fuseForget || opcode == fuseBatchForget || opcode == fuseInterrupt {
			continue
		}
		body, errno := d.answer(opcode, node, buf[fuseInHeader:n])
		reply := le.AppendUint32(nil, uint32(16+len(body)))
		reply = le.AppendUint32(reply, uint32(-int32(errno)))
		reply = append(le.AppendUint64(reply, unique), body...)
		_, _ = unix.Write(int(d.dev.Fd()), reply) // fails if nobody waits any more
	}
}

func (d *lossyDisk) answer(opcode uint32, node uint64, in []byte) ([]byte, syscall.Errno) {
	le := binary.LittleEndian
	switch opcode {
	case fuseInit:
		out := make([]byte, 64)
		le.PutUint32(out, 7)
		le.PutUint32(out[4:], 31)
		le.PutUint32(out[12:], fuseBigWrites)
		le.PutUint16(out[16:], 16)
		le.PutUint16(out[18:], 12)
		le.PutUint32(out[20:], fuseMaxWrite)
		le.PutUint32(out[24:], 1)
		return out, 0
	case fuseLookup:
		if !bytes.Equal(in, []byte("disk\x00")) {
			return nil, unix.ENOENT
		}
		out := le.AppendUint64(nil, fuseDiskNode)
		return append(append(out, make([]byte, 32)...), d.attributes(fuseDiskNode)...), 0
	case fuseGetattr:
		return append(make([]byte, 16), d.attributes(node)...), 0
	case fuseOpen:
		return make([]byte, 16), 0
	case fuseRead:
		out := make([]byte, le.Uint32(in[16:]))
		n, err := d.current.ReadAt(out, int64(le.Uint64(in[8:])))
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, unix.EIO
		}
		return out[:n], 0
	case fuseWrite:
		return le.AppendUint64(nil, uint64(le.Uint32(in[16:]))), d.write(int64(le.Uint64(in[8:])), in[40:])
	case fuseFsync:
		return nil, d.flush()
	case fuseRelease, fuseFlush:
		return nil, 0
	}
	return nil, unix.ENOSYS
}

// attributes is a struct fuse_attr: of the root, or of the one file.
func (d *lossyDisk) attributes(node uint64) []byte {
	le := binary.LittleEndian
	out := make([]byte, 88)
	le.PutUint64(out, node)
	mode, nlink := uint32(unix.S_IFDIR|0o700), uint32(2)
	if node == fuseDiskNode {
		le.PutUint64(out[8:], uint64(d.size))
		mode, nlink = unix.S_IFREG|0o600, 1
	}
	le.PutUint32(out[60:], mode)
	le.PutUint32(out[64:], nlink)
	le.PutUint32(out[80:], 4096)
	return out
}

func (d *lossyDisk) write(at int64, data []byte) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.current.WriteAt(data, at); err != nil {
		return unix.EIO
	}
	d.pending = append(d.pending, diskWrite{at, bytes.Clone(data)})
	if d.countdown--; d.countdown == 0 {
		d.gone <- d.lose()
	}
	return 0
}

func (d *lossyDisk) flush() syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.pending {
		if _, err := d.base.WriteAt(w.data, w.at); err != nil {
			return unix.EIO
		}
	}
	d.pending = nil
	return 0
}

// loseAt has the power go with the n'th write from now on; 0: never.
func (d *lossyDisk) loseAt(n int, share float64) <-chan loss {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.countdown, d.share, d.gone = n, share, make(chan loss, 1)
	return d.gone
}

// loseNow has the power go now.
func (d *lossyDisk) loseNow() loss {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lose()
}

// lose makes a file of what is left when the power goes: of what was not flushed some share, in any order, some of it in part: whole
// sectors of 512 bytes.
func (d *lossyDisk) lose() loss {
	l := loss{file: fmt.Sprintf("%s-%d", d.base.Name(), rand.Uint32()), all: len(d.pending)}
	if l.err = exec.Command("cp", "--sparse=always", d.base.Name(), l.file).Run(); l.err != nil {
		return l
	}
	f, err := os.OpenFile(l.file, os.O_WRONLY, 0)
	if l.err = err; err != nil {
		return l
	}
	defer f.Close()
	for _, i := range rand.Perm(len(d.pending)) {
		data := d.pending[i].data
		if rand.Float64() >= d.share {
			l.lost++
			data = data[:rand.IntN(len(data)/512+1)*512]
		}
		if _, err := f.WriteAt(data, d.pending[i].at); err != nil {
			l.err = err
		}
	}
	return l
}

// lossyMount makes an ext4 on a lossy disk and mounts it.
func lossyMount(t *testing.T, image, mnt, options string) *lossyDisk {
	t.Helper()
	below := filepath.Join(t.TempDir(), "fuse")
	if err := os.Mkdir(below, 0o700); err != nil {
		t.Fatal(err)
	}
	d := newLossyDisk(t, image, below)
	mount(t, filepath.Join(below, "disk"), mnt, "loop,"+options)
	return d
}
