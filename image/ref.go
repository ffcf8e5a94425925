package image

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
)

// ErrBadRef: no form of reference matches.
var ErrBadRef = errors.New("invalid image reference")

// Kind says which form of reference a Ref is.
type Kind int

// The forms of a reference.
const (
	Registry      Kind = iota + 1 // nginx, reg.example/app:v1, docker://…
	OCILayout                     // oci:DIR[:tag]
	OCIArchive                    // oci-archive:FILE[:tag]
	DockerArchive                 // docker-archive:FILE[:tag]
	File                          // /path, ./path, file://…: sniffed
	ACI                           // https://…/x.aci, aci:NAME
	ID                            // sha256:PREFIX, sha512-PREFIX
)

// Ref is a parsed image reference. Two spellings of one image give one String.
type Ref struct {
	Kind Kind

	// Registry: host[:port], path below it, and a tag or a digest (never both: a digest decides).
	Registry   string
	Repository string
	Digest     digest.Digest

	// Registry and local sources. For a local source an empty tag means "the only image in there".
	Tag string

	// Local sources: absolute path.
	Path string

	// ID: algorithm "sha256" or "sha512", and the leading hex digits.
	Algorithm, Prefix string

	// ACI: as typed.
	Name string
}

// Limits of a reference, so that names stay file names and log lines.
const (
	maxRef       = 2048
	minIDPrefix  = 7
	maxNameBytes = 1024
)

// ParseRef parses every form of reference. It does no I/O but asking for the working directory when a path is
// relative. Errors are ErrBadRef.
func ParseRef(s string) (Ref, error) {
	ref, err := parse(s)
	if err != nil {
		return Ref{}, fmt.Errorf("parse image reference %q: %w", clip(s), err)
	}
	return ref, nil
}

func parse(s string) (Ref, error) {
	if s == "" || len(s) > maxRef {
		return Ref{}, fmt.Errorf("%w: 1 to %d bytes expected", ErrBadRef, maxRef)
	}
	if i := strings.IndexFunc(s, unprintable); i >= 0 {
		return Ref{}, fmt.Errorf("%w: unprintable character at byte %d", ErrBadRef, i)
	}
	if ref, ok, err := parseID(s); ok {
		return ref, err
	}
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		scheme = ""
	}
	switch scheme {
	case "docker":
		if name, ok := strings.CutPrefix(rest, "//"); ok {
			return parseRegistry(name)
		}
	case "oci":
		return parseLocal(OCILayout, rest)
	case "oci-archive":
		return parseLocal(OCIArchive, rest)
	case "docker-archive":
		return parseLocal(DockerArchive, rest)
	case "file":
		return parseFileURL(s)
	case "aci":
		return Ref{Kind: ACI, Name: s}, nil
	case "http", "https":
		if strings.HasPrefix(rest, "//") {
			return parseURL(s)
		}
	}
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") || s == "." || s == ".." {
		return fileRef(s)
	}
	return parseRegistry(s)
}

// parseID knows sha256:PREFIX and, from appc, sha512-PREFIX. ok is false for what is neither: an image may be called
// sha256 and its tag may be anything but such a number.
// All 64 digits are an ID without sha256: too, as in docker and podman: no repository of theirs may be called so.
func parseID(s string) (ref Ref, ok bool, err error) {
	if len(s) == 64 && strings.Trim(s, hexDigits) == "" {
		s = "sha256:" + s
	}
	prefix, ok := strings.CutPrefix(s, "sha256:")
	ref, most := Ref{Kind: ID, Algorithm: "sha256", Prefix: prefix}, 64
	if !ok {
		prefix, ok = strings.CutPrefix(s, "sha512-")
		ref, most = Ref{Kind: ID, Algorithm: "sha512", Prefix: prefix}, 128
	}
	if !ok || prefix == "" || len(prefix) > most || strings.Trim(prefix, hexDigits) != "" {
		return Ref{}, false, nil
	}
	if len(prefix) < minIDPrefix {
		return Ref{}, true, fmt.Errorf("%w: an image ID needs %d digits or more", ErrBadRef, minIDPrefix)
	}
	return ref, true, nil
}

// parseLocal splits PATH[:tag] at the first colon, as skopeo does: an image's own name may hold colons, its path not.
func parseLocal(kind Kind, s string) (Ref, error) {
	path, tag, tagged := strings.Cut(s, ":")
	if path == "" {
		return Ref{}, fmt.Errorf("%w: no path", ErrBadRef)
	}
	if tagged && (tag == "" || len(tag) > maxNameBytes) {
		return Ref{}, fmt.Errorf("%w: empty or overlong tag", ErrBadRef)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return Ref{}, err
	}
	return Ref{Kind: kind, Path: abs, Tag: tag}, nil
}

func parseFileURL(s string) (Ref, error) {
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || (u.Host != "" && u.Host != "localhost") || !filepath.IsAbs(u.Path) || u.RawQuery != "" {
		return Ref{}, fmt.Errorf("%w: file:///absolute/path expected", ErrBadRef)
	}
	return fileRef(u.Path)
}

func parseURL(s string) (Ref, error) {
	u, err := url.Parse(s)
	if err == nil && u.User != nil {
		return Ref{}, fmt.Errorf("%w: credentials in a URL become part of the image's name: write them to auth.d", ErrBadRef)
	}
	if err != nil || u.Host == "" || !strings.HasSuffix(u.Path, ".aci") {
		return Ref{}, fmt.Errorf("%w: only ACI files are fetched by URL; a registry's image is written without https://", ErrBadRef)
	}
	return Ref{Kind: ACI, Name: s}, nil
}

func fileRef(path string) (Ref, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Ref{}, err
	}
	return Ref{Kind: File, Path: abs}, nil
}

// String is the canonical form: the name under which the store keeps the image, and what ParseRef gives back.
func (r Ref) String() string {
	switch r.Kind {
	case Registry:
		if r.Digest != "" {
			return r.Registry + "/" + r.Repository + "@" + r.Digest.String()
		}
		return r.Registry + "/" + r.Repository + ":" + r.Tag
	case OCILayout, OCIArchive, DockerArchive:
		s := map[Kind]string{OCILayout: "oci:", OCIArchive: "oci-archive:", DockerArchive: "docker-archive:"}[r.Kind] + r.Path
		if r.Tag != "" {
			s += ":" + r.Tag
		}
		return s
	case File:
		return r.Path
	case ID:
		if r.Algorithm == "sha512" {
			return "sha512-" + r.Prefix
		}
		return r.Algorithm + ":" + r.Prefix
	default:
		return r.Name
	}
}

func unprintable(r rune) bool { return r < 0x20 || r == 0x7f || r == 0xfffd || (r >= 0x80 && r < 0xa0) }

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
