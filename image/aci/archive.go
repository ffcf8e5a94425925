package aci

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"

	"github.com/ulikunitz/xz"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/appc"
	"github.com/gantryrun/gantry/image/inflate"
)

// Magic numbers of the compressions that the spec allows.
const (
	gzipMagic  = "\x1f\x8b"
	bzip2Magic = "BZh"
	xzMagic    = "\xfd7zXZ\x00"
)

// decompress returns the tar in r, by its first bytes, of at most limit bytes.
func decompress(r io.Reader, limit int64) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 256<<10)
	head, _ := b.Peek(64) // a shorter one is no archive, which is found out soon
	var tar io.Reader = b
	var err error
	switch {
	case bytes.HasPrefix(head, []byte(gzipMagic)):
		tar = inflate.NewReader(b)
	case bytes.HasPrefix(head, []byte(bzip2Magic)):
		tar = bzip2.NewReader(b)
	case bytes.HasPrefix(head, []byte(xzMagic)):
		tar, err = xz.ReaderConfig{DictCap: 4096}.NewReader(newXZGuard(b))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: decompress: %w", appc.ErrInvalid, err)
	}
	return &capped{tar, limit}, nil
}

// capped fails once more than left bytes come.
type capped struct {
	r    io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, fmt.Errorf("%w: the archive grows beyond what its size allows", image.ErrLimit)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: decompress: %w", appc.ErrInvalid, err)
	}
	return n, err
}

// archive reads the members of an ACI's tar. Whoever reads to io.EOF has read, and hashed, all of it.
type archive struct {
	src  io.Reader
	tar  *tar.Reader
	hash hash.Hash
	n    int
}

// maxMembers of an archive.
const maxMembers = 2_000_000

func openArchive(r io.Reader, limit int64) (*archive, error) {
	src, err := decompress(r, limit)
	if err != nil {
		return nil, err
	}
	a := &archive{hash: sha512.New()}
	a.src = io.TeeReader(src, a.hash)
	a.tar = tar.NewReader(a.src)
	return a, nil
}

// member is a header with its clean name: "manifest", "rootfs", or below the latter.
type member struct {
	*tar.Header
	name string
}

// next member. io.EOF after the last.
func (a *archive) next() (member, error) {
	for {
		h, err := a.tar.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, a.src) // padding; nothing behind the end goes unhashed
			if err == nil {
				err = io.EOF
			}
			return member{}, err
		}
		if err != nil {
			return member{}, fmt.Errorf("%w: tar: %w", appc.ErrInvalid, err)
		}
		if a.n++; a.n > maxMembers {
			return member{}, fmt.Errorf("%w: more than %d members", image.ErrLimit, maxMembers)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			return member{}, fmt.Errorf("%w: global header in the tar", appc.ErrInvalid)
		}
		name, err := cleanName(h.Name)
		if err != nil {
			return member{}, err
		}
		if name == "." && h.Typeflag == tar.TypeDir {
			continue
		}
		if name != "manifest" && name != "rootfs" && !strings.HasPrefix(name, "rootfs/") {
			return member{}, fmt.Errorf("%w: %q is outside rootfs/", appc.ErrInvalid, h.Name)
		}
		return member{h, name}, nil
	}
}

// cleanName takes "./" and a directory's slash off, and refuses everything else that Clean would have to repair.
func cleanName(s string) (string, error) {
	name := strings.TrimSuffix(strings.TrimPrefix(s, "./"), "/")
	if name == "" {
		name = "."
	}
	if path.Clean(name) != name || path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("%w: member %q", appc.ErrInvalid, s)
	}
	return name, nil
}

// id is the image's ID, once all is read.
func (a *archive) id() string { return "sha512-" + hex.EncodeToString(a.hash.Sum(nil)) }

// findManifest reads up to the manifest, which is in most archives the first member.
func findManifest(r io.Reader, limit int64) (*appc.Manifest, error) {
	a, err := openArchive(r, limit)
	if err != nil {
		return nil, err
	}
	for {
		m, err := a.next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: no manifest", appc.ErrInvalid)
		}
		if err != nil {
			return nil, err
		}
		if m.name != "manifest" {
			continue
		}
		if m.Typeflag != tar.TypeReg || m.Size > appc.MaxManifest {
			return nil, fmt.Errorf("%w: manifest of type %q, %d bytes", appc.ErrInvalid, m.Typeflag, m.Size)
		}
		data, err := io.ReadAll(a.tar)
		if err != nil {
			return nil, fmt.Errorf("%w: manifest: %w", appc.ErrInvalid, err)
		}
		return appc.ParseManifest(data)
	}
}

// Sniff says whether a file looks like an ACI: a tar, compressed or not, that begins with what only an ACI begins with.
func Sniff(f io.ReadSeeker) bool {
	const enough = 1 << 20
	found, err := rewound(f, func() (bool, error) {
		a, err := openArchive(f, enough)
		if err != nil {
			return false, err
		}
		_, err = a.next()
		return err == nil, nil
	})
	return found && err == nil
}
