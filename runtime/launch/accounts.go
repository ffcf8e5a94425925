package launch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/runtime/bundle"
)

// readIn reads a file below root as the app would see it. The app shapes that tree, while we look: links stay inside,
// a FIFO does not hold us up (CVE-2024-9676), and more than an account file ever needs is refused. A file that is
// not there is empty.
func readIn(root *os.File, path string) ([]byte, error) {
	fd, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open in app", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s in app: not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, bundle.MaxAccounts+1))
	if err == nil && len(data) > bundle.MaxAccounts {
		err = fmt.Errorf("read %s in app: larger than %d bytes", path, bundle.MaxAccounts)
	}
	return data, err
}
