package fetch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image"
)

// files is what a local source is made of: named, regular files, in a directory or in an archive.
type files interface {
	// open returns a file and its size; fs.ErrNotExist where there is none.
	open(name string) (io.ReadCloser, int64, error)
	close() error
}

// openLocal opens an image that lies on this machine. A bare path is sniffed.
func openLocal(ref image.Ref) (source, error) {
	list, err := openFiles(ref.Path)
	if err != nil {
		return nil, err
	}
	kind := ref.Kind
	if kind == image.File {
		kind = sniff(list)
	}
	_, isDir := list.(*directory)
	switch {
	case kind == image.OCILayout && isDir, kind == image.OCIArchive && !isDir:
		return &layout{files: list, tag: ref.Tag}, nil
	case kind == image.DockerArchive && !isDir:
		src, err := openDockerArchive(list, ref.Tag)
		if err != nil {
			return nil, errors.Join(err, list.close())
		}
		return src, nil
	case kind == image.ACI:
		err = fmt.Errorf("%w: %s is an appc image (ACI)", image.ErrUnsupported, ref.Path)
	case ref.Kind == image.OCILayout:
		err = fmt.Errorf("%s is no directory: for a tar of an OCI layout write oci-archive:%s", ref.Path, ref.Path)
	default:
		err = fmt.Errorf("%s holds no image: neither OCI layout nor archive of one, nor of docker", ref.Path)
	}
	return nil, errors.Join(err, list.close())
}

// sniff says what is in a directory or archive. docker save writes both formats; the newer wins.
func sniff(list files) image.Kind {
	has := func(name string) bool {
		f, _, err := list.open(name)
		if err == nil {
			f.Close()
		}
		return err == nil
	}
	_, isDir := list.(*directory)
	switch {
	case has(ociLayoutFile) && isDir:
		return image.OCILayout
	case has(ociLayoutFile):
		return image.OCIArchive
	case has(dockerManifestFile):
		return image.DockerArchive
	case has("manifest"):
		return image.ACI
	}
	return 0
}

// openFiles opens a directory, or a tar, without being held up by a FIFO.
func openFiles(path string) (files, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", image.ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err == nil && info.IsDir():
		err = f.Close()
		root, rerr := os.OpenRoot(path)
		return &directory{root}, errors.Join(err, rerr)
	case err == nil && !info.Mode().IsRegular():
		err = fmt.Errorf("%s is neither file nor directory", path)
	case err == nil:
		err = refuseCompressed(f)
	}
	var list files
	if err == nil {
		list, err = openArchive(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return list, nil
}

// refuseCompressed: an archive is read at many places, a compressed one could be read once.
func refuseCompressed(f *os.File) error {
	magic := make([]byte, 6)
	n, _ := f.ReadAt(magic, 0) // a shorter file is no archive either
	for name, prefix := range map[string]string{"gzip": gzipMagic, "zstd": zstdMagic, "xz": "\xfd7zXZ", "bzip2": "BZh"} {
		if bytes.HasPrefix(magic[:n], []byte(prefix)) {
			return fmt.Errorf("%s is compressed (%s): decompress it first", f.Name(), name)
		}
	}
	return nil
}

const (
	gzipMagic = "\x1f\x8b"
	zstdMagic = "\x28\xb5\x2f\xfd"
)

// directory is the files of an OCI layout. os.Root: links in it lead nowhere else.
type directory struct{ root *os.Root }

func (d *directory) open(name string) (io.ReadCloser, int64, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q is no regular file", name)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

func (d *directory) close() error { return d.root.Close() }

// readSmall reads a file whole, if it is no larger than limit.
func readSmall(list files, name string, limit int64) ([]byte, error) {
	f, size, err := list.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, fmt.Errorf("%w: %q has %d bytes, %d allowed", image.ErrLimit, name, size, limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}
