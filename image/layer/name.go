package layer

import (
	"fmt"
	"strings"
)

// Linux's limits (linux/limits.h), NUL excluded.
const (
	maxComponent = 255
	maxPath      = 4095
)

// cleanPath makes a name of a tar relative to the root and free of empty, "." and ".." components; by its text, as filepath.Clean
// would below "/", so that it cannot leave the root.
func cleanPath(raw string) (string, error) {
	if isClean(raw) {
		return raw, nil
	}
	trimmed := strings.TrimSuffix(strings.TrimPrefix(raw, "./"), "/")
	if isClean(trimmed) {
		return trimmed, nil
	}
	if strings.IndexByte(raw, 0) >= 0 {
		return "", fmt.Errorf("%w: name %q contains NUL", ErrInvalid, shorten(raw))
	}
	var parts []string
	for part := range strings.SplitSeq(raw, "/") {
		switch part {
		case "", ".":
		case "..":
			parts = parts[:max(0, len(parts)-1)]
		default:
			if len(part) > maxComponent {
				return "", fmt.Errorf("%w: name %q is longer than %d bytes", ErrInvalid, shorten(part), maxComponent)
			}
			parts = append(parts, part)
		}
	}
	clean := strings.Join(parts, "/")
	if len(clean) > maxPath {
		return "", fmt.Errorf("%w: path %q is longer than %d bytes", ErrInvalid, shorten(clean), maxPath)
	}
	return clean, nil
}

// isClean reports whether a path is what cleanPath gives, in one pass and without allocation.
func isClean(path string) bool {
	if path == "" || len(path) > maxPath {
		return false
	}
	begin := 0
	for k := 0; k <= len(path); k++ {
		if k < len(path) && path[k] != '/' {
			if path[k] == 0 {
				return false
			}
			continue
		}
		n := k - begin
		if n == 0 || n > maxComponent || path[begin] == '.' && (n == 1 || n == 2 && path[begin+1] == '.') {
			return false
		}
		begin = k + 1
	}
	return true
}

// shorten keeps foreign names in error texts to a line.
func shorten(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}

const (
	whiteoutPrefix = ".wh."
	aufsPrefix     = ".wh..wh." // of aufs's own files, which old layers contain
	opaqueName     = ".wh..wh..opq"
)

// mark is what a clean path says about lower layers.
type mark int

const (
	markNone mark = iota
	markWhiteout
	markOpaque
	markAufs // to be skipped
)

// whiteout interprets names that OCI reserves. It returns the path that the mark is about.
//
// A mark that names nothing (".wh.") or its own or its parent directory (".wh..", ".wh...") is refused: joined to its directory
// without care, it would remove that.
func whiteout(path string) (mark, string, error) {
	if !strings.Contains(path, whiteoutPrefix) {
		return markNone, path, nil
	}
	dir, base := splitPath(path)
	for part := range strings.SplitSeq(dir, "/") {
		switch {
		case strings.HasPrefix(part, aufsPrefix):
			return markAufs, path, nil
		case strings.HasPrefix(part, whiteoutPrefix):
			return markNone, path, fmt.Errorf("%w: %q lies below a whiteout", ErrInvalid, shorten(path))
		}
	}
	switch name, is := strings.CutPrefix(base, whiteoutPrefix); {
	case !is:
		return markNone, path, nil
	case base == opaqueName:
		return markOpaque, dir, nil
	case strings.HasPrefix(base, aufsPrefix):
		return markAufs, path, nil
	case name == "", name == ".", name == "..":
		return markNone, path, fmt.Errorf("%w: whiteout %q names no file", ErrInvalid, shorten(path))
	case dir == "":
		return markWhiteout, name, nil
	default:
		return markWhiteout, dir + "/" + name, nil
	}
}

// splitPath splits a clean path; the directory is "" for what lies in the root.
func splitPath(path string) (dir, base string) {
	k := strings.LastIndexByte(path, '/')
	if k < 0 {
		return "", path
	}
	return path[:k], path[k+1:]
}
