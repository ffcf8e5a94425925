// Package stdio says which of the caller's streams an app may be given as its own 0, 1 or 2.
//
// It looks at open files and changes nothing. Invariant: what has a name on the host is never an app's. libcontainer makes the app's user
// the owner of what it gets; and a root app opens /proc/self/fd/N anew, with rights that the descriptor does not have: it writes to
// what it was to read, and truncates what it was to append to.
package stdio

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Kind is what a stream is to an app.
type Kind int

// The kinds.
const (
	Named     Kind = iota // a file, a FIFO, a device: stays the caller's, is copied through a pipe
	Anonymous             // a pipe or a socket, which cannot be opened anew, or /dev/null, for which the app gets its own
	Terminal              // the app may have it if it may be its owner, who is restored afterwards
)

// Look says what f is, and whose.
func Look(f *os.File) (Kind, int, error) {
	fd := int(f.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return Named, 0, fmt.Errorf("look at %s: %w", f.Name(), err)
	}
	owner := int(st.Uid)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return Anonymous, owner, nil
	case unix.S_IFIFO:
		var fs unix.Statfs_t
		if err := unix.Fstatfs(fd, &fs); err != nil {
			return Named, owner, fmt.Errorf("look at %s: %w", f.Name(), err)
		}
		if fs.Type == unix.PIPEFS_MAGIC {
			return Anonymous, owner, nil
		}
	case unix.S_IFCHR:
		if st.Rdev == unix.Mkdev(1, 3) {
			return Anonymous, owner, nil
		}
		if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
			return Terminal, owner, nil
		}
	}
	return Named, owner, nil
}

// Same reports whether a and b are one file: what is written to them is to stay in order.
func Same(a, b *os.File) bool {
	one, errA := a.Stat()
	two, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(one, two)
}
