package layer

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// pax holds the records of one extended header that change an entry. An empty string is a record that is not there: an empty value
// takes a record back (POSIX), and none of these may be empty.
type pax struct {
	path, linkpath          string
	size, uid, gid, mtime   string
	xattrs                  []paxXattr
	sparseMajor             string
	sparseMinor             string
	sparseName              string
	sparseSize, sparseReal  string
	sparseBlocks, sparseMap string
	sparsePairs             []string // offset and length, in turn: format 0.0 repeats the records
}

// paxXattr is an extended attribute as it came, under the name behind "SCHILY.xattr.".
type paxXattr struct{ name, value string }

const paxXattrPrefix = "SCHILY.xattr."

// parsePAX reads the records "LENGTH KEY=VALUE\n".
func parsePAX(b []byte) (*pax, error) {
	p := &pax{}
	err := eachRecord(b, func(key, value string) error { return p.set(key, value) })
	return p, err
}

func eachRecord(b []byte, f func(key, value string) error) error {
	for len(b) > 0 {
		space := bytes.IndexByte(b[:min(len(b), 20)], ' ')
		if space <= 0 {
			return fmt.Errorf("%w: PAX record without a length", ErrInvalid)
		}
		n, err := strconv.ParseUint(string(b[:space]), 10, 63)
		if err != nil || n > uint64(len(b)) || n < uint64(space)+3 || b[n-1] != '\n' {
			return fmt.Errorf("%w: PAX record of length %q", ErrInvalid, b[:space])
		}
		key, value, ok := strings.Cut(string(b[space+1:n-1]), "=")
		if !ok || key == "" || strings.IndexByte(key, 0) >= 0 {
			return fmt.Errorf("%w: PAX record with key %q", ErrInvalid, key)
		}
		if err := f(key, value); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// field is where the record of a key is kept, or nil where it does not matter.
func (p *pax) field(key string) *string {
	switch key {
	case "path":
		return &p.path
	case "linkpath":
		return &p.linkpath
	case "size":
		return &p.size
	case "uid":
		return &p.uid
	case "gid":
		return &p.gid
	case "mtime":
		return &p.mtime
	case "GNU.sparse.major":
		return &p.sparseMajor
	case "GNU.sparse.minor":
		return &p.sparseMinor
	case "GNU.sparse.name":
		return &p.sparseName
	case "GNU.sparse.size":
		return &p.sparseSize
	case "GNU.sparse.realsize":
		return &p.sparseReal
	case "GNU.sparse.numblocks":
		return &p.sparseBlocks
	case "GNU.sparse.map":
		return &p.sparseMap
	}
	return nil
}

func (p *pax) set(key, value string) error {
	if f := p.field(key); f != nil {
		// A NUL would end the name for a C program and not for this one.
		if strings.IndexByte(value, 0) >= 0 {
			return fmt.Errorf("%w: PAX record %q contains NUL", ErrInvalid, key)
		}
		*f = value
		return nil
	}
	if name, ok := strings.CutPrefix(key, paxXattrPrefix); ok {
		p.xattrs = append(p.xattrs, paxXattr{name, value})
		return nil
	}
	switch key {
	case "GNU.sparse.offset", "GNU.sparse.numbytes":
		// Offsets and lengths take turns, or the pairs mean nothing.
		if wantOffset := len(p.sparsePairs)%2 == 0; wantOffset != (key == "GNU.sparse.offset") {
			return fmt.Errorf("%w: PAX record %q out of order", ErrInvalid, key)
		}
		p.sparsePairs = append(p.sparsePairs, value)
	}
	return nil
}

// checkGlobal looks at a global header. Runtimes ignore what it says of later entries, and GNU tar obeys it: where the two would
// unpack different trees, the layer is refused.
func checkGlobal(b []byte) (ignored string, err error) {
	err = eachRecord(b, func(key, _ string) error {
		var p pax
		switch {
		case key == "mtime":
			ignored = key
		case p.field(key) != nil, strings.HasPrefix(key, paxXattrPrefix), strings.HasPrefix(key, "GNU.sparse."):
			return fmt.Errorf("%w: global PAX header sets %q", ErrInvalid, key)
		}
		return nil
	})
	return ignored, err
}

// apply puts the records into a header.
func (p *pax) apply(h *header) error {
	if p.path != "" {
		h.name = p.path
	}
	if p.linkpath != "" {
		h.link = p.linkpath
	}
	for _, n := range []struct {
		key, value string
		to         *int64
	}{{"size", p.size, &h.size}, {"uid", p.uid, &h.uid}, {"gid", p.gid, &h.gid}} {
		if n.value == "" {
			continue
		}
		v, ok := parseDecimal(n.value)
		if !ok {
			return fmt.Errorf("%w: PAX record %s is %q", ErrInvalid, n.key, n.value)
		}
		*n.to = v
	}
	if p.mtime != "" {
		sec, nsec, ok := parseTime(p.mtime)
		if !ok {
			return fmt.Errorf("%w: PAX record mtime is %q", ErrInvalid, p.mtime)
		}
		h.sec, h.nsec = sec, nsec
	}
	h.xattrs = p.xattrs
	return nil
}
