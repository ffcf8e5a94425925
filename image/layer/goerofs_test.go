package layer

import (
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"testing"

	goerofs "github.com/erofs/go-erofs"

	"github.com/gantryrun/gantry/image/erofs"
)

// listByOthers lists an index through erofs/go-erofs, which shares no code with our writer, nor with the kernel.
func listByOthers(t testing.TB, s *store) listing {
	t.Helper()
	f, err := os.Open(s.index(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tree, err := goerofs.Open(unifiedAddresses(t, f, s.readers()), goerofs.WithExtraDevices(s.readers()...))
	if err != nil {
		t.Fatal(err)
	}
	l := lister{t: t, all: listing{}, first: map[any]string{}}
	err = fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*goerofs.Stat)
		i := &erofs.Inode{
			Mode: unixMode(st.Mode), UID: st.UID, GID: st.GID, Nlink: uint32(st.Nlink), Sec: int64(st.Mtime), Nsec: st.MtimeNs,
			Rdev: st.Rdev,
		}
		if i.IsRegular() {
			i.Size = st.Size // of others it is how much they take
		}
		for name, value := range st.Xattrs {
			i.Xattrs = append(i.Xattrs, erofs.Xattr{Name: name, Value: value})
		}
		if i.IsSymlink() {
			if i.Target, err = fs.ReadLink(tree, path); err != nil {
				return err
			}
		}
		var content io.Reader
		if i.IsRegular() {
			open, err := tree.Open(path)
			if err != nil {
				return err
			}
			defer open.Close()
			content = open
		}
		if path == "." {
			path = ""
		}
		l.add(path, i, st.Ino, content, nil)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return l.all
}

// unified is an index and its devices in the one space of addresses that the device table lays out. go-erofs looks there
// for chunks, but not for files in one piece, which it takes to be in the index.
type unified struct {
	index   io.ReaderAt
	devices []io.ReaderAt
	starts  []int64
}

// unifiedAddresses reads where the devices begin: struct erofs_super_block and erofs_deviceslot of the kernel's erofs_fs.h.
func unifiedAddresses(t testing.TB, index io.ReaderAt, devices []io.ReaderAt) *unified {
	t.Helper()
	var super, slot [128]byte
	if _, err := index.ReadAt(super[:], 1024); err != nil {
		t.Fatal(err)
	}
	u := &unified{index: index, devices: devices}
	for k := range devices {
		at := 128 * (int64(binary.LittleEndian.Uint16(super[88:])) + int64(k))
		if _, err := index.ReadAt(slot[:], at); err != nil {
			t.Fatal(err)
		}
		u.starts = append(u.starts, int64(binary.LittleEndian.Uint32(slot[68:]))<<super[12])
	}
	return u
}

func (u *unified) ReadAt(p []byte, off int64) (int, error) {
	from, start := u.index, int64(0)
	for k, s := range u.starts {
		if off >= s {
			from, start = u.devices[k], s
		}
	}
	return from.ReadAt(p, off-start)
}

// unixMode is the st_mode of a mode of package fs.
func unixMode(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	for _, bit := range []struct {
		of   fs.FileMode
		mode uint32
	}{
		{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000},
	} {
		if m&bit.of != 0 {
			mode |= bit.mode
		}
	}
	switch m.Type() {
	case fs.ModeDir:
		return mode | 0o040000
	case fs.ModeSymlink:
		return mode | 0o120000
	case fs.ModeNamedPipe:
		return mode | 0o010000
	case fs.ModeSocket:
		return mode | 0o140000
	case fs.ModeDevice:
		return mode | 0o060000
	case fs.ModeDevice | fs.ModeCharDevice:
		return mode | 0o020000
	}
	return mode | 0o100000
}
