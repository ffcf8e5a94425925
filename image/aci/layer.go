package aci

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/appc"
)

// whitelist is the paths that may stay, of an image and of all that depend on it; nil: all.
type whitelist map[string]bool

// newWhitelist adds the directories above the paths, without which they could not be there.
func newWhitelist(paths []string) whitelist {
	if len(paths) == 0 {
		return nil
	}
	w := whitelist{}
	for _, p := range paths {
		for ; p != "/"; p = path.Dir(p) {
			w[strings.TrimPrefix(p, "/")] = true
		}
	}
	return w
}

// whitelists have all to let a path stay: those of an image and of the images that it is a dependency of (spec, aci.md,
// "pathWhitelist").
type whitelists []whitelist

func (list whitelists) keep(name string) bool {
	for _, w := range list {
		if w != nil && !w[name] {
			return false
		}
	}
	return true
}

// writeLayer copies what lies below rootfs/ of the ACI in r to w, as a tar, and returns the layer and the image's ID.
// Whoever reads the ACI to its end here has hashed all of it.
func writeLayer(w io.Writer, r io.Reader, name string, keep whitelists, limit int64) (appc.Layer, string, error) {
	a, err := openArchive(r, limit)
	if err != nil {
		return appc.Layer{}, "", err
	}
	hash := sha256.New()
	count := &counter{w: io.MultiWriter(w, hash), left: limit}
	buffer := bufio.NewWriterSize(count, 256<<10)
	out := tar.NewWriter(buffer)
	manifests := 0
	for {
		m, err := a.next()
		if errors.Is(err, io.EOF) {
			break
		}
		switch {
		case err != nil:
			return appc.Layer{}, "", err
		case m.name == "manifest":
			manifests++
		case m.name == "rootfs" && m.Typeflag != tar.TypeDir:
			err = fmt.Errorf("%w: rootfs is no directory", appc.ErrInvalid)
		case m.name == "rootfs" || keep.keep(strings.TrimPrefix(m.name, "rootfs/")):
			err = copyMember(out, a.tar, m)
		}
		if err != nil {
			return appc.Layer{}, "", err
		}
	}
	if manifests != 1 {
		return appc.Layer{}, "", fmt.Errorf("%w: %d manifests", appc.ErrInvalid, manifests)
	}
	if err := errors.Join(out.Close(), buffer.Flush()); err != nil {
		return appc.Layer{}, "", fmt.Errorf("write layer: %w", err)
	}
	return appc.Layer{Name: name, DiffID: digest.NewDigest(digest.SHA256, hash), Size: count.n}, a.id(), nil
}

// copyMember writes one member under its name without rootfs/.
func copyMember(out *tar.Writer, content io.Reader, m member) error {
	h := *m.Header
	h.Name = "./"
	if m.name != "rootfs" {
		h.Name = strings.TrimPrefix(m.name, "rootfs/")
	}
	// A layer's .wh. files say what is gone. In an ACI they are files, which no layer can hold.
	if strings.HasPrefix(path.Base(h.Name), ".wh.") {
		return fmt.Errorf("%w: %q would mean something else in a layer", appc.ErrInvalid, h.Name)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
	case tar.TypeDir:
		h.Name = strings.TrimSuffix(h.Name, "/") + "/"
	case tar.TypeLink:
		target, err := cleanName(h.Linkname)
		if err != nil || !strings.HasPrefix(target, "rootfs/") {
			return fmt.Errorf("%w: hard link %q to %q, outside rootfs/", appc.ErrInvalid, h.Name, h.Linkname)
		}
		h.Linkname = strings.TrimPrefix(target, "rootfs/")
	case tar.TypeGNUSparse: // expanded as it is read
		h.Typeflag = tar.TypeReg
	default:
		return fmt.Errorf("%w: %q is of unknown type %q", appc.ErrInvalid, h.Name, h.Typeflag)
	}
	h.Format = tar.FormatUnknown // whatever holds it
	if err := out.WriteHeader(&h); err != nil {
		return fmt.Errorf("%w: %q: %w", appc.ErrInvalid, h.Name, err)
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	_, err := io.Copy(out, content)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: %q is cut short", appc.ErrInvalid, h.Name)
	}
	return err
}

// counter counts what is written, up to a limit: a sparse file of a few bytes may claim a petabyte.
type counter struct {
	w       io.Writer
	n, left int64
}

func (c *counter) Write(p []byte) (int, error) {
	if c.left -= int64(len(p)); c.left < 0 {
		return 0, fmt.Errorf("%w: the layer grows beyond what the archive's size allows", image.ErrLimit)
	}
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
