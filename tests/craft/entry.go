package craft

import (
	"archive/tar"
	"bytes"
	"fmt"
	"time"
)

// Entry is a member of a tar that is well formed; what it asks for need not be.
type Entry struct {
	tar.Header
	Body string
}

// File, Dir, Symlink, Hardlink, Device and Fifo are entries of root's.
func File(name, body string) Entry {
	return Entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, body}
}

// Dir is a directory 0755.
func Dir(name string) Entry {
	return Entry{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}, ""}
}

// Symlink leads from name to target.
func Symlink(name, target string) Entry {
	return Entry{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}, ""}
}

// Hardlink is a further name of target.
func Hardlink(name, target string) Entry {
	return Entry{tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target, Mode: 0o777}, ""}
}

// Device is a character device.
func Device(name string, major, minor int64) Entry {
	return Entry{tar.Header{Name: name, Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: major, Devminor: minor}, ""}
}

// Fifo is a FIFO.
func Fifo(name string) Entry {
	return Entry{tar.Header{Name: name, Typeflag: tar.TypeFifo, Mode: 0o666}, ""}
}

// With changes an entry's mode.
func (e Entry) With(mode int64) Entry {
	e.Mode = mode
	return e
}

// Xattr adds an extended attribute.
func (e Entry) Xattr(name, value string) Entry {
	records := map[string]string{"SCHILY.xattr." + name: value}
	for k, v := range e.PAXRecords {
		records[k] = v
	}
	e.PAXRecords = records
	return e
}

// Archive writes entries as a tar in the PAX format. It panics if they cannot be written: then the test is wrong.
func Archive(entries ...Entry) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.Header
		h.Size, h.Format = int64(len(e.Body)), tar.FormatPAX
		if h.ModTime.IsZero() {
			h.ModTime = time.Unix(1_700_000_000, 0)
		}
		err := w.WriteHeader(&h)
		if err == nil {
			_, err = w.Write([]byte(e.Body))
		}
		if err != nil {
			panic(fmt.Sprintf("craft %q: %v", h.Name, err))
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}
