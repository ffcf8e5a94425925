package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image/erofs"
)

// ErrNotRegular: a path in an image that should be a plain file is something else, or larger than the caller takes.
var ErrNotRegular = errors.New("not a regular file of acceptable size")

// ReadFile reads a regular file of an image, without a mount. Symbolic links lead nowhere but inside the image, and
// nothing but a regular file is opened: FIFOs and devices, and files of more than limit bytes, are ErrNotRegular.
// fs.ErrNotExist where there is none.
func (s *Store) ReadFile(ctx context.Context, img *Image, name string, limit int64) ([]byte, error) {
	backend, _, err := s.Backend()
	if err != nil {
		return nil, err
	}
	if err := s.ensureTree(ctx, backend, img.ChainID, img.DiffIDs); err != nil {
		return nil, err
	}
	read := s.readFromIndex
	if backend == Dir {
		read = s.readFromTree
	}
	data, err := read(img, path.Clean("/"+name), limit)
	if err != nil {
		return nil, fmt.Errorf("read %q in image %s: %w", clip(name), img.ID, err)
	}
	return data, nil
}

func (s *Store) readFromIndex(img *Image, name string, limit int64) ([]byte, error) {
	index, err := os.Open(filepath.Join(s.treeDir(img.ChainID), treeIndex))
	if err != nil {
		return nil, err
	}
	defer index.Close()
	tars := make([]io.ReaderAt, len(img.DiffIDs))
	for i, d := range img.DiffIDs {
		tar, err := os.Open(filepath.Join(s.layerDir(d), "tar"))
		if err != nil {
			return nil, err
		}
		defer tar.Close()
		tars[i] = tar
	}
	tree, err := erofs.Open(index, tars)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	data, err := tree.ReadFile(name, limit)
	if errors.Is(err, erofs.ErrNotRegular) || errors.Is(err, erofs.ErrTooLarge) {
		err = fmt.Errorf("%w: %w", ErrNotRegular, err)
	}
	return data, err
}

// readFromTree asks the kernel to resolve the path with the tree as its root: an image's links must not lead out.
func (s *Store) readFromTree(img *Image, name string, limit int64) ([]byte, error) {
	root, err := os.Open(filepath.Join(s.treeDir(img.ChainID), treeFS))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// O_PATH first: to open a FIFO would wait, and to open a device may do things.
	at, err := unix.Openat2(int(root.Fd()), name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > limit {
		return nil, fmt.Errorf("%w: mode %#o, %d bytes", ErrNotRegular, st.Mode, st.Size)
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", at)) // the very inode that was judged
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}
