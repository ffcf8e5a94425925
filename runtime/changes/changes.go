// Package changes writes what an app has changed of its root file system, the upper directory of an overlay, as a layer of an OCI
// image.
//
// It reads a tree that the app shaped and may still be changing: it follows no link, leaves the tree nowhere, and fails rather than write
// a layer that is not what was there. It knows nothing of pods.
package changes

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// What deletes things in a layer (OCI image-spec, layer.md).
const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
)

// Marks of overlayfs in an upper directory; everything below overlayAttrs is its own.
const (
	overlayAttrs = "trusted.overlay."
	opaqueAttr   = overlayAttrs + "opaque"
	redirectAttr = overlayAttrs + "redirect"
	metacopyAttr = overlayAttrs + "metacopy"
)

// writer writes one layer.
type writer struct {
	tar   *tar.Writer
	links map[inode]string // of files with several names: the one that was written
	base  uint32           // of owners
}

type inode struct{ dev, ino uint64 }

// WriteLayer writes the tree below upper to w, as an uncompressed tar. Sockets stay behind.
// Owners are base less than on the disk: that of the pod's user namespace, or 0.
func WriteLayer(w io.Writer, upper *os.Root, base uint32) error {
	l := &writer{tar: tar.NewWriter(w), links: map[inode]string{}, base: base}
	if err := l.dir(upper, ""); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	return l.tar.Close()
}

// dir writes what is in an open directory, whose name in the layer is prefix, empty or with a slash at its end.
func (l *writer) dir(dir *os.Root, prefix string) error {
	self, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer self.Close()
	names, err := self.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if strings.HasPrefix(name, whiteoutPrefix) {
			return fmt.Errorf("%q: a layer cannot hold a file of this name", prefix+name)
		}
		if err := l.entry(dir, self, prefix, name); err != nil {
			return fmt.Errorf("%q: %w", prefix+name, err)
		}
	}
	return nil
}

func (l *writer) entry(dir *os.Root, self *os.File, prefix, name string) error {
	info, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("no owner")
	}
	switch {
	case info.Mode()&fs.ModeCharDevice != 0 && st.Rdev == 0:
		return l.tar.WriteHeader(&tar.Header{Name: prefix + whiteoutPrefix + name, Typeflag: tar.TypeReg, Format: tar.FormatPAX})
	case info.Mode()&fs.ModeSocket != 0:
		return nil
	}
	attrs, err := attributes(fmt.Sprintf("/proc/self/fd/%d/%s", self.Fd(), name))
	if err != nil {
		return err
	}
	for _, a := range []string{redirectAttr, metacopyAttr} {
		if _, there := attrs[a]; there {
			return fmt.Errorf("overlayfs refers to the image by %s, which a layer cannot", a)
		}
	}
	if st.Uid < l.base || st.Gid < l.base {
		return fmt.Errorf("owner %d:%d is none of the pod's", st.Uid, st.Gid)
	}
	h := &tar.Header{
		Name: prefix + name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid - l.base), Gid: int(st.Gid - l.base), ModTime: info.ModTime(), Format: tar.FormatPAX,
		PAXRecords: map[string]string{},
	}
	for k, v := range attrs {
		if !strings.HasPrefix(k, overlayAttrs) {
			h.PAXRecords["SCHILY.xattr."+k] = v
		}
	}
	if info.IsDir() {
		return l.subdir(dir, h, attrs[opaqueAttr] == "y")
	}
	return l.leaf(dir, h, info, st)
}

func (l *writer) subdir(dir *os.Root, h *tar.Header, opaque bool) error {
	name := path.Base(h.Name)
	h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	if err := l.tar.WriteHeader(h); err != nil {
		return err
	}
	if opaque {
		marker := &tar.Header{Name: h.Name + opaqueMarker, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if err := l.tar.WriteHeader(marker); err != nil {
			return err
		}
	}
	sub, err := dir.OpenRoot(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	return l.dir(sub, h.Name)
}

// leaf writes what is no directory.
func (l *writer) leaf(dir *os.Root, h *tar.Header, info fs.FileInfo, st *syscall.Stat_t) error {
	name := path.Base(h.Name)
	if id := (inode{st.Dev, st.Ino}); st.Nlink > 1 {
		if first, there := l.links[id]; there {
			h.Typeflag, h.Linkname, h.PAXRecords = tar.TypeLink, first, nil
			return l.tar.WriteHeader(h)
		}
		l.links[id] = h.Name
	}
	var err error
	switch info.Mode().Type() {
	case 0:
		return l.file(dir, h, name, info)
	case fs.ModeSymlink:
		h.Typeflag = tar.TypeSymlink
		h.Linkname, err = dir.Readlink(name)
	case fs.ModeNamedPipe:
		h.Typeflag = tar.TypeFifo
	case fs.ModeDevice:
		h.Typeflag = tar.TypeBlock
	case fs.ModeDevice | fs.ModeCharDevice:
		h.Typeflag = tar.TypeChar
	default:
		err = fmt.Errorf("unknown type %s", info.Mode())
	}
	if err != nil {
		return err
	}
	h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	return l.tar.WriteHeader(h)
}

// file writes a regular file, if it still is the one that was looked at and has its size.
func (l *writer) file(dir *os.Root, h *tar.Header, name string, info fs.FileInfo) error {
	f, err := dir.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if now, err := f.Stat(); err != nil || !os.SameFile(now, info) || now.Size() != info.Size() {
		return errors.Join(errors.New("it is being changed: stop the pod first"), err)
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := l.tar.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(l.tar, io.LimitReader(f, info.Size()))
	if err == nil && n != info.Size() {
		err = errors.New("it is being changed: stop the pod first")
	}
	return err
}

// attributes reads the extended attributes of path, whose last part is not followed.
func attributes(path string) (map[string]string, error) {
	list := make([]byte, 64<<10) // XATTR_LIST_MAX
	n, err := unix.Llistxattr(path, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list attributes: %w", err)
	}
	attrs := map[string]string{}
	value := make([]byte, 64<<10) // XATTR_SIZE_MAX
	for name := range bytes.SplitSeq(list[:n], []byte{0}) {
		if len(name) == 0 {
			continue
		}
		n, err := unix.Lgetxattr(path, string(name), value)
		if err != nil {
			return nil, fmt.Errorf("read attribute %q: %w", name, err)
		}
		attrs[string(name)] = string(value[:n])
	}
	return attrs, nil
}
