package layer

import (
	"errors"
	"fmt"
	"strings"
)

// maxFollow bounds how many symbolic links a path of a tar may take, as the kernel does. The others bound an image as a whole, beside what
// Limits says of each layer: the steps that all paths may take together (an entry of 1 KiB can lead through 40 links of 4 KiB), the
// directories without an entry (one of 4 KiB can imply 2,000, of 600 bytes of memory each), and the entries (one layer can be there a
// thousand times).
const (
	maxFollow  = 40
	maxSteps   = 100_000_000
	maxImplied = 1 << 20
	maxEntries = 1 << 24
)

var errNotDirectory = errors.New("is not a directory")

// walk follows a path, and symbolic links on it, inside the root. It returns the last directory that is there, and what is
// missing below.
func (m *merger) walk(path string) (at *node, missing []string, err error) {
	at = m.root
	links := 0
	for path != "" {
		var name string
		name, path, _ = strings.Cut(path, "/")
		if m.steps++; m.steps > maxSteps {
			return nil, nil, fmt.Errorf("%w: paths lead through too many symbolic links", ErrLimit)
		}
		switch {
		case name == "" || name == ".":
			continue
		case name == ".." && len(missing) > 0:
			missing = missing[:len(missing)-1]
			continue
		case name == "..":
			if at.parent != nil {
				at = at.parent
			}
			continue
		case len(missing) > 0:
			missing = append(missing, name)
			continue
		}
		next := at.kids[name]
		switch {
		case next == nil:
			if len(name) > maxComponent { // out of a link's target: paths of entries are checked
				return nil, nil, fmt.Errorf("%w: name %q is longer than %d bytes", ErrInvalid, shorten(name), maxComponent)
			}
			missing = append(missing, name)
		case next.inode.IsDir():
			at = next
		case next.inode.IsSymlink():
			if links++; links > maxFollow {
				return nil, nil, fmt.Errorf("%w: more than %d symbolic links", ErrInvalid, maxFollow)
			}
			if strings.HasPrefix(next.inode.Target, "/") {
				at = m.root
			}
			path = next.inode.Target + "/" + path
			m.steps += len(path) / 16
		default:
			return nil, nil, fmt.Errorf("%w: %q %w", ErrInvalid, shorten(name), errNotDirectory)
		}
	}
	return at, missing, nil
}
