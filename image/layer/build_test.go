package layer

import (
	"archive/tar"
	"bytes"
	"testing"
	"time"
)

// member is an entry of a tar that a test writes.
type member struct {
	tar.Header
	body string
}

// when is the mtime that members have: not a whole second, so that lost nanoseconds show.
var when = time.Unix(1_700_000_000, 123_456_789)

func file(name, body string) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, ModTime: when}, body}
}

func dir(name string, mode int64) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode, ModTime: when.Add(time.Hour)}, ""}
}

func symlink(name, target string) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777, ModTime: when}, ""}
}

func hardlink(name, target string) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}, ""}
}

func special(kind byte, name string, major, minor int64) member {
	return member{tar.Header{Name: name, Typeflag: kind, Mode: 0o640, Devmajor: major, Devminor: minor, ModTime: when}, ""}
}

func fifo(name string) member { return special(tar.TypeFifo, name, 0, 0) }

func (m member) owner(uid, gid int) member {
	m.Uid, m.Gid = uid, gid
	return m
}

func (m member) mode(mode int64) member {
	m.Mode = mode
	return m
}

func (m member) xattr(name, value string) member {
	if m.PAXRecords == nil {
		m.PAXRecords = map[string]string{}
	}
	m.PAXRecords["SCHILY.xattr."+name] = value
	return m
}

// whiteouts are empty files.
func hide(name string) member { return file(name, "") }

// archive writes members as a tar; PAX, unless a member says otherwise.
func archive(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := m.Header
		h.Size = int64(len(m.body))
		if h.Format == tar.FormatUnknown {
			h.Format = tar.FormatPAX
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatalf("write %q: %v", h.Name, err)
		}
		if _, err := w.Write([]byte(m.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
