package layer

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/gantryrun/gantry/image/erofs"
)

// kindOf translates the type flag. Flags that POSIX leaves to vendors are refused: each reader of tars makes something else of them.
func kindOf(h *header) (kind, error) {
	switch h.typeflag {
	case 0:
		// Before POSIX, a directory was a file with a slash.
		if strings.HasSuffix(h.name, "/") {
			return kindDir, nil
		}
		return kindRegular, nil
	case '0', '7', 'S':
		return kindRegular, nil
	case '1':
		return kindHardlink, nil
	case '2':
		return kindSymlink, nil
	case '3':
		return kindChar, nil
	case '4':
		return kindBlock, nil
	case '5':
		return kindDir, nil
	case '6':
		return kindFifo, nil
	}
	return 0, fmt.Errorf("%w: type %q", ErrInvalid, h.typeflag)
}

// dataSize is how many bytes of data follow the header. Only regular files have data. A hard link may repeat its target's
// size, and POSIX lets a directory give a quota; neither is followed by anything. Elsewhere readers disagree.
func dataSize(h *header, k kind) (int64, error) {
	switch {
	case h.size < 0:
		return 0, fmt.Errorf("%w: size %d", ErrInvalid, h.size)
	case k == kindRegular:
		return h.size, nil
	case h.size == 0, k == kindHardlink, k == kindDir && h.typeflag == '5':
		return 0, nil
	}
	return 0, fmt.Errorf("%w: %d bytes of data, which its type cannot have", ErrInvalid, h.size)
}

// compact joins segments that touch. A file without holes is not sparse: nil.
func (m *sparseMap) compact() []erofs.Segment {
	joined := make([]erofs.Segment, 0, len(m.segments))
	for _, s := range m.segments {
		if n := len(joined); n > 0 && joined[n-1].Offset+joined[n-1].Length == s.Offset {
			joined[n-1].Length += s.Length
			continue
		}
		joined = append(joined, s)
	}
	if m.size == 0 || len(joined) == 1 && joined[0] == (erofs.Segment{Length: m.size}) {
		return nil
	}
	return joined
}

// cString is what C makes of a GNU long name: it ends at its first NUL.
func cString(b []byte) string {
	if k := bytes.IndexByte(b, 0); k >= 0 {
		b = b[:k]
	}
	return string(b)
}

func hasNUL(s string) bool { return strings.IndexByte(s, 0) >= 0 }
