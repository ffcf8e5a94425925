package layer

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/gantryrun/gantry/image/erofs"
)

const (
	maxXattrValue = 1<<16 - 1 // an index stores 16 bits of length; Linux allows one more
	maxXattrTotal = 128 << 10 // of one file, names and values
)

// keepXattrs picks what an image may set: user.* and valid file capabilities. Above all, trusted.overlay.* and user.overlay.* would
// be orders to overlayfs (redirects, opaque directories, metacopy), and security.ima, .evm and .selinux are the host's.
// What is dropped is a warning.
func (s *scanner) keepXattrs(path string, k kind, all []paxXattr) ([]erofs.Xattr, error) {
	var keep []erofs.Xattr
	total := 0
	for _, x := range all {
		if why := refuseXattr(k, x); why != "" {
			s.layer.warn(path, "xattr %q dropped: %s", shorten(x.name), why)
			continue
		}
		if total += len(x.name) + len(x.value); total > maxXattrTotal {
			return nil, fmt.Errorf("%w: xattrs of more than %d bytes", ErrLimit, maxXattrTotal)
		}
		keep = append(keep, erofs.Xattr{Name: x.name, Value: x.value})
	}
	return sortXattrs(keep), nil
}

// sortXattrs sorts by name; of equal names the last one stays.
func sortXattrs(all []erofs.Xattr) []erofs.Xattr {
	slices.Reverse(all)
	slices.SortStableFunc(all, func(a, b erofs.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(all, func(a, b erofs.Xattr) bool { return a.Name == b.Name })
}

// refuseXattr says why an xattr is dropped, or "".
func refuseXattr(k kind, x paxXattr) string {
	switch name, user := strings.CutPrefix(x.name, "user."); {
	case x.name == "security.capability":
		if k != kindRegular {
			return "only a regular file has capabilities"
		}
		return checkCapability(x.value)
	case !user:
		return "only user.* and security.capability are kept"
	case strings.HasPrefix(name, "overlay."):
		return "an order to overlayfs"
	case name == "" || len(x.name) > maxComponent || strings.IndexByte(name, 0) >= 0:
		return "not a valid name"
	case len(x.value) > maxXattrValue:
		return "too long"
	case k != kindRegular && k != kindDir:
		return "the kernel allows user.* on regular files and directories only"
	}
	return ""
}

// checkCapability accepts struct vfs_cap_data of versions 2 and 3 (linux/capability.h); version 3 has the root user of a namespace.
func checkCapability(v string) string {
	const version2, version3, effective = 0x02000000, 0x03000000, 0x000001
	if len(v) < 4 {
		return "too short"
	}
	switch magic := binary.LittleEndian.Uint32([]byte(v[:4])) &^ effective; {
	case magic == version2 && len(v) == 20, magic == version3 && len(v) == 24:
		return ""
	}
	return "not of version 2 or 3"
}
