package main

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// writeTree writes a directory tree as a layer's tar: hard links once, security.capability kept, and what an
// overlay's upper directory uses to say "deleted" turned into OCI whiteouts. Caches of apt are left out.
func writeTree(file, root string) error {
	out, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	tree := treeWriter{w: tar.NewWriter(out), root: root, seen: map[uint64]string{}}
	if err := filepath.WalkDir(root, tree.visit); err != nil {
		return err
	}
	if err := tree.w.Close(); err != nil {
		return err
	}
	return out.Close()
}

type treeWriter struct {
	w    *tar.Writer
	root string
	seen map[uint64]string // inode -> name, of files with several links
}

func (t *treeWriter) visit(path string, d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	name, err := filepath.Rel(t.root, path)
	if err != nil || name == "." {
		return err
	}
	if skipped(name) {
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fmt.Errorf("stat %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 {
		return t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: filepath.Join(filepath.Dir(name), ".wh."+filepath.Base(name))})
	}
	if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
		return nil
	}
	if err := t.entry(path, name, st); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if d.IsDir() && xattr(path, "trusted.overlay.opaque") == "y" {
		return t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: filepath.Join(name, ".wh..wh..opq")})
	}
	return nil
}

// skipped names what a package manager leaves that no image wants, and what is the machine's.
func skipped(name string) bool {
	for _, dir := range []string{"var/lib/apt/lists/", "var/cache/apt/", "proc/", "sys/", "dev/", "tmp/", "run/"} {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return name == "etc/resolv.conf" || name == "usr/sbin/policy-rc.d"
}

func (t *treeWriter) entry(path, name string, st unix.Stat_t) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname = name, "", ""
	if info.IsDir() {
		h.Name += "/"
	}
	if first, ok := t.seen[st.Ino]; ok {
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		return t.w.WriteHeader(h)
	}
	if !info.IsDir() && st.Nlink > 1 {
		t.seen[st.Ino] = name
	}
	if caps := xattr(path, "security.capability"); caps != "" {
		h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": caps}
	}
	if err := t.w.WriteHeader(h); err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteTo(t.w)
	return err
}

// xattr returns an extended attribute's value, "" where there is none.
func xattr(path, name string) string {
	buf := make([]byte, 256)
	n, err := unix.Lgetxattr(path, name, buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}
