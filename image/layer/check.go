package layer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/gantryrun/gantry/image/erofs"
	"golang.org/x/sys/unix"
)

// ErrDiffers: a directory is not what Unpack would make of the tree; the text says where and in what.
var ErrDiffers = errors.New("differs from what the layers give")

// Check compares dir, which only root can reach, with what Unpack would make there. It opens nothing but directories and regular
// files, follows no symbolic link, and ends with the first difference: ErrDiffers, or the error of reading.
func (t *Tree) Check(ctx context.Context, dir string, tars []*os.File) error {
	if len(tars) != t.layers {
		return fmt.Errorf("check: %d layers, %d tars", t.layers, len(tars))
	}
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("check %s: %w", dir, err)
	}
	defer func() { _ = unix.Close(root) }()
	c := &checker{ctx: ctx, tars: tars, seen: make(map[*erofs.Inode]uint64)}
	if err := c.file(root, t.Root); err != nil {
		return fmt.Errorf("%q: %w", shorten("/"+strings.Join(c.path, "/")), err)
	}
	return nil
}

type checker struct {
	ctx  context.Context
	tars []*os.File
	seen map[*erofs.Inode]uint64 // inode numbers of files with several names
	path []string                // to what is being compared
	a, b []byte                  // to compare content in
}

// file compares what fd, opened with O_PATH, stands for.
func (c *checker) file(fd int, i *erofs.Inode) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if what := differs(&st, i); what != "" {
		return fmt.Errorf("%w: another %s", ErrDiffers, what)
	}
	if ino, ok := c.seen[i]; ok {
		if ino != st.Ino {
			return fmt.Errorf("%w: not the hard link that it should be", ErrDiffers)
		}
		return nil
	}
	if !i.IsDir() && i.Nlink > 1 {
		c.seen[i] = st.Ino
	}
	switch i.Mode & erofs.ModeType {
	case erofs.ModeSymlink:
		return checkTarget(fd, i)
	case erofs.ModeDir, erofs.ModeRegular:
		f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd)) // the very inode that was judged
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		if err := checkXattrs(f, i); err != nil {
			return err
		}
		if i.IsDir() {
			return c.directory(f, i)
		}
		return c.content(f, i)
	}
	return nil
}

// differs names the attribute in which a file is another.
func differs(st *unix.Stat_t, i *erofs.Inode) string {
	kind := i.Mode & erofs.ModeType
	switch {
	case st.Mode&erofs.ModeType != kind:
		return "type"
	case st.Mode&0o7777 != i.Mode&0o7777 && !i.IsSymlink():
		return "mode"
	case st.Uid != i.UID || st.Gid != i.GID:
		return "owner"
	case st.Mtim.Sec != i.Sec || st.Mtim.Nsec != int64(i.Nsec):
		return "time"
	case !i.IsDir() && uint64(st.Nlink) != uint64(i.Nlink): //nolint:unconvert // a uint32 on other machines
		return "number of links"
	case i.IsRegular() && st.Size != i.Size:
		return "size"
	case (kind == erofs.ModeChar || kind == erofs.ModeBlock) && erofs.Mkdev(unix.Major(st.Rdev), unix.Minor(st.Rdev)) != i.Rdev:
		return "device number"
	}
	return ""
}

func checkTarget(fd int, i *erofs.Inode) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err == nil && string(buf[:n]) != i.Target {
		err = fmt.Errorf("%w: another target", ErrDiffers)
	}
	return err
}

// checkXattrs compares those that a layer may set; others, of a security module, are the host's.
func checkXattrs(f *os.File, i *erofs.Inode) error {
	names := make([]byte, 64<<10)
	n, err := unix.Flistxattr(int(f.Fd()), names)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("list xattrs: %w", err)
	}
	count := 0
	for name := range strings.SplitSeq(string(names[:max(0, n)]), "\x00") {
		if strings.HasPrefix(name, "user.") || name == "security.capability" {
			count++
		}
	}
	value := make([]byte, maxXattrValue+1)
	for _, x := range i.Xattrs {
		if n, err := unix.Fgetxattr(int(f.Fd()), x.Name, value); err != nil || string(value[:n]) != x.Value {
			return fmt.Errorf("%w: another xattr %q", ErrDiffers, shorten(x.Name))
		}
	}
	if count != len(i.Xattrs) {
		return fmt.Errorf("%w: more xattrs", ErrDiffers)
	}
	return nil
}

func (c *checker) directory(f *os.File, i *erofs.Inode) error {
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	if !slices.EqualFunc(names, i.Entries, func(name string, e erofs.Dirent) bool { return name == e.Name }) {
		return fmt.Errorf("%w: other names in the directory", ErrDiffers)
	}
	for _, e := range i.Entries {
		c.path = append(c.path, e.Name)
		fd, err := unix.Openat(int(f.Fd()), e.Name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = c.file(fd, e.Inode)
		_ = unix.Close(fd)
		if err != nil {
			return err
		}
		c.path = c.path[:len(c.path)-1]
	}
	return nil
}

// content compares a regular file, of the right size, with its data in the tar, and what lies between with zeros.
func (c *checker) content(f *os.File, i *erofs.Inode) error {
	if i.Size == 0 {
		return nil
	}
	tar, segments := c.tars[i.Device-1], i.Sparse
	if segments == nil {
		segments = []erofs.Segment{{Length: i.Size}}
	}
	at, data := int64(0), i.Offset
	for _, s := range segments {
		if err := c.hole(f, at, s.Offset); err != nil {
			return err
		}
		if err := c.same(f, s.Offset, io.NewSectionReader(tar, data, s.Length)); err != nil {
			return err
		}
		at, data = s.Offset+s.Length, data+s.Length
	}
	return c.hole(f, at, i.Size)
}

// hole looks for something else than zeros between two places. It skips what the file system calls a hole: a file may have a terabyte.
func (c *checker) hole(f *os.File, at, end int64) error {
	for at < end {
		from, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && from >= end {
			return nil
		}
		to := end
		if err == nil {
			to, err = unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
		}
		if err != nil {
			return fmt.Errorf("find holes: %w", err)
		}
		to = min(to, end)
		if err := c.same(f, from, io.NewSectionReader(zeros{}, 0, to-from)); err != nil {
			return err
		}
		at = to
	}
	return nil
}

// same compares what lies at a place of f.
func (c *checker) same(f *os.File, at int64, want *io.SectionReader) error {
	have := io.NewSectionReader(f, at, want.Size())
	if c.a == nil {
		c.a, c.b = make([]byte, 128<<10), make([]byte, 128<<10)
	}
	for left := want.Size(); left > 0; {
		n := min(left, int64(len(c.a)))
		_, err := io.ReadFull(have, c.a[:n])
		_, werr := io.ReadFull(want, c.b[:n])
		if err := errors.Join(err, werr); err != nil {
			return err
		}
		if !bytes.Equal(c.a[:n], c.b[:n]) {
			return fmt.Errorf("%w: another content, at byte %d or after", ErrDiffers, at)
		}
		at, left = at+n, left-n
	}
	return c.ctx.Err()
}

type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}
