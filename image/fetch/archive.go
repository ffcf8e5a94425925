package fetch

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/gantryrun/gantry/image"
)

// Bounds of an archive: of its members, and of links from one to the other.
const (
	maxMembers     = 100_000
	maxMemberLinks = 8
)

// archive is a tar whose members are read where they lie: nothing is unpacked.
type archive struct {
	file    *os.File
	members map[string]member
}

// member is a regular file, or a link to one.
type member struct {
	offset, size int64
	link         string
}

// openArchive notes where each member lies. It reads the headers only: archive/tar seeks over the rest.
func openArchive(f *os.File) (*archive, error) {
	a := &archive{file: f, members: map[string]member{}}
	r := tar.NewReader(f)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read archive %s: %w", f.Name(), err)
		}
		if len(a.members) == maxMembers {
			return nil, fmt.Errorf("%w: archive %s has more than %d members", image.ErrLimit, f.Name(), maxMembers)
		}
		name := path.Clean("/" + header.Name)[1:]
		if _, twice := a.members[name]; twice {
			return nil, fmt.Errorf("archive %s has two members %q", f.Name(), name)
		}
		switch header.Typeflag {
		case tar.TypeReg:
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			a.members[name] = member{offset: at, size: header.Size}
		case tar.TypeSymlink: // old versions of docker save share layers so
			a.members[name] = member{link: path.Join(path.Dir("/"+name), header.Linkname)[1:]}
		case tar.TypeLink:
			a.members[name] = member{link: path.Clean("/" + header.Linkname)[1:]}
		}
	}
}

func (a *archive) open(name string) (io.ReadCloser, int64, error) {
	for range maxMemberLinks {
		m, ok := a.members[name]
		if !ok {
			return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		if m.link == "" {
			return io.NopCloser(io.NewSectionReader(a.file, m.offset, m.size)), m.size, nil
		}
		name = strings.TrimPrefix(m.link, "/")
	}
	return nil, 0, fmt.Errorf("links without end at %q", name)
}

func (a *archive) close() error { return a.file.Close() }
