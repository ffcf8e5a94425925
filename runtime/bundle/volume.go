package bundle

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gantryrun/gantry/pods"
)

// Kinds of volumes.
const (
	KindHost  = "host"  // a path of the host
	KindEmpty = "empty" // a directory that lives and dies with the pod
	KindTmpfs = "tmpfs" // memory
)

// Volume is a volume of a pod.
type Volume struct {
	Name         string
	Kind         string
	Source       string // KindHost: absolute
	ReadOnly     bool
	NonRecursive bool   // KindHost: without what is mounted below Source
	Propagation  string // KindHost: private, slave or shared; empty is slave
	Mode         uint32 // KindEmpty, KindTmpfs: as chmod(2) takes it; 0 is 0755 (tmpfs: 1777)
	UID, GID     uint32 // KindEmpty, KindTmpfs
	Size         int64  // KindTmpfs: bytes, 0 is the kernel's default
	Shared       bool   // KindTmpfs: several mounts show one, which stage1 makes; else each has its own
	// From is the directory of the image that an empty volume covers and takes owner and mode from.
	From string
}

// Mount puts a volume into an app.
type Mount struct {
	Volume   string
	Target   string // absolute
	ReadOnly bool
}

// Tmpfs is a memory file system of one app.
type Tmpfs struct {
	Target  string
	Options []string
}

// ParseVolume parses rkt's NAME,kind=host|empty|tmpfs,source=DIR,readOnly=BOOL,recursive=BOOL,mode=OCTAL,uid=N,gid=N,size=BYTES.
func ParseVolume(s string) (Volume, error) {
	name, rest, _ := strings.Cut(s, ",")
	v := Volume{Name: name}
	if err := pods.CheckName(name); err != nil {
		return v, err
	}
	if rest == "" {
		return v, fmt.Errorf("volume %s: kind is missing: want %s,kind=empty, %s,kind=tmpfs or %s,kind=host,source=DIR", name, name, name, name)
	}
	var keys [][2]string
	for pair := range strings.SplitSeq(rest, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return v, fmt.Errorf("volume %s: %q: want key=value, each once", name, clip(pair))
		}
		keys = append(keys, [2]string{key, value})
	}
	return NewVolume(name, keys)
}

// NewVolume is ParseVolume of keys and values that are apart already.
func NewVolume(name string, keys [][2]string) (Volume, error) {
	v, given := Volume{Name: name}, map[string]bool{}
	for _, kv := range keys {
		if given[kv[0]] {
			return v, fmt.Errorf("volume %s: %s: want key=value, each once", name, kv[0])
		}
		given[kv[0]] = true
		if err := v.set(kv[0], kv[1]); err != nil {
			return v, fmt.Errorf("volume %s: %s: %w", name, kv[0], err)
		}
	}
	return v, v.check(given)
}

func (v *Volume) set(key, value string) (err error) {
	switch key {
	case "kind":
		v.Kind = value
	case "source":
		v.Source = value
	case "readOnly":
		v.ReadOnly, err = parseBool(value)
	case "recursive":
		v.NonRecursive, err = parseBool(value)
		v.NonRecursive = !v.NonRecursive
	case "propagation":
		v.Propagation = strings.TrimPrefix(value, "r")
		if !slices.Contains([]string{"private", "slave", pods.PropagationShared}, v.Propagation) {
			err = fmt.Errorf("%q: want private, slave or shared", clip(value))
		}
	case "mode":
		v.Mode, err = parseMode(value)
	case "uid":
		v.UID, err = ParseID(value)
	case "gid":
		v.GID, err = ParseID(value)
	case "size":
		v.Size, err = ParseBytes(value)
	default:
		err = errors.New("unknown key: want kind, source, readOnly, recursive, propagation, mode, uid, gid or size")
	}
	return err
}

func (v *Volume) check(given map[string]bool) error {
	wrong := func(keys ...string) error {
		for _, k := range keys {
			if given[k] {
				return fmt.Errorf("volume %s: %s has no meaning for kind=%s", v.Name, k, v.Kind)
			}
		}
		return nil
	}
	switch v.Kind {
	case KindHost:
		if !filepath.IsAbs(v.Source) {
			return fmt.Errorf("volume %s: source %q: want an absolute path", v.Name, v.Source)
		}
		v.Source = filepath.Clean(v.Source)
		return wrong("mode", "uid", "gid", "size")
	case KindEmpty:
		return wrong("source", "recursive", "propagation", "size")
	case KindTmpfs:
		return wrong("source", "recursive", "propagation")
	}
	return fmt.Errorf("volume %s: kind %q: want host, empty or tmpfs", v.Name, v.Kind)
}

// ParseMount parses rkt's volume=NAME,target=PATH[,readOnly=BOOL].
func ParseMount(s string) (Mount, error) {
	var m Mount
	for pair := range strings.SplitSeq(s, ",") {
		key, value, _ := strings.Cut(pair, "=")
		var err error
		switch key {
		case "volume":
			m.Volume, err = value, pods.CheckName(value)
		case "target":
			if value != "" && !path.IsAbs(value) { // as rkt: seen from the app's root
				value = "/" + value
			}
			m.Target, err = cleanTarget(value)
		case "readOnly":
			m.ReadOnly, err = parseBool(value)
		default:
			err = fmt.Errorf("unknown key %q: want volume=NAME,target=PATH (-v /SOURCE:/TARGET[:ro] and --tmpfs PATH are volume and mount in one)", clip(key))
		}
		if err != nil {
			return m, err
		}
	}
	if m.Volume == "" || m.Target == "" {
		return m, fmt.Errorf("%q: want volume=NAME,target=PATH", clip(s))
	}
	return m, nil
}

// NewMount is a mount of volume at target.
func NewMount(volume, target string) (Mount, error) {
	clean, err := cleanTarget(target)
	if err == nil {
		err = pods.CheckName(volume)
	}
	return Mount{Volume: volume, Target: clean}, err
}

// ParseBind parses the short form SOURCE:TARGET[:ro|rw] that docker and podman have; SOURCE is an absolute path. The
// volume is named after its target.
func ParseBind(s string) (Volume, Mount, error) {
	parts := strings.Split(s, ":")
	if len(parts) < 2 || len(parts) > 3 || !filepath.IsAbs(parts[0]) {
		return Volume{}, Mount{}, fmt.Errorf("%q: want /SOURCE:/TARGET[:ro]; named volumes are --volume NAME,kind=… and --mount volume=NAME,target=…", clip(s))
	}
	target, err := cleanTarget(parts[1])
	if err != nil {
		return Volume{}, Mount{}, err
	}
	v := Volume{Name: "bind-" + slug(parts[0]), Kind: KindHost, Source: filepath.Clean(parts[0])}
	m := Mount{Volume: v.Name, Target: target}
	if len(parts) == 3 {
		for opt := range strings.SplitSeq(parts[2], ",") {
			switch opt {
			case "ro":
				m.ReadOnly = true
			case "rw", "rbind", "z", "Z": // z and Z relabel for SELinux: nothing to do without it
			default:
				return v, m, fmt.Errorf("%q: unknown option %q: want ro or rw", clip(s), opt)
			}
		}
	}
	return v, m, nil
}

// tmpfsOptions are those that a tmpfs may have, with an example of what follows the equals sign.
var tmpfsOptions = map[string]string{
	"size": "64m", "mode": "1777", "uid": "0", "gid": "0", "nr_inodes": "10k",
	"ro": "", "rw": "", "exec": "", "noexec": "", "suid": "", "nosuid": "", "dev": "", "nodev": "", "noatime": "",
}

// isTmpfsNumber reports whether the kernel will take s where it takes example: with a unit where that has one.
func isTmpfsNumber(s, example string) bool {
	digits := s
	if strings.TrimRight(example, "km") != example {
		digits = strings.TrimSuffix(strings.TrimRight(s, "kKmMgGtT"), "%")
	}
	return digits != "" && len(s)-len(digits) <= 1 && strings.Trim(digits, "0123456789") == ""
}

// ParseTmpfs parses PATH[:OPTION,…].
func ParseTmpfs(s string) (Tmpfs, error) {
	target, options, some := strings.Cut(s, ":")
	target, err := cleanTarget(target)
	t := Tmpfs{Target: target}
	if err != nil || !some {
		return t, err
	}
	for opt := range strings.SplitSeq(options, ",") {
		key, val, _ := strings.Cut(opt, "=")
		want, known := tmpfsOptions[key]
		switch {
		case !known:
			return t, fmt.Errorf("%q: unknown option %q", clip(s), opt)
		case want == "" && key != opt:
			return t, fmt.Errorf("%q: option %q takes no value", clip(s), key)
		case want != "" && !isTmpfsNumber(val, want):
			return t, fmt.Errorf("%q: option %q: want %s=N, such as %s", clip(s), opt, key, want)
		}
		t.Options = append(t.Options, opt)
	}
	return t, nil
}

// cleanTarget refuses what no volume may cover: the root itself, and /proc, through which runtimes have been made to
// write labels and parameters where an image wanted them (CVE-2019-19921).
func cleanTarget(s string) (string, error) {
	if !path.IsAbs(s) || strings.ContainsRune(s, 0) {
		return "", fmt.Errorf("target %q: want an absolute path", clip(s))
	}
	s = path.Clean(s)
	if s == "/" || s == "/proc" || strings.HasPrefix(s, "/proc/") {
		return "", fmt.Errorf("target %q cannot be mounted over", clip(s))
	}
	return s, nil
}

// slug makes of a path what may stand in a name.
func slug(p string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, strings.Trim(path.Clean(p), "/"))
	return clean[:min(len(clean), 40)]
}

func parseBool(s string) (bool, error) {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("%q: want true or false", clip(s))
	}
	return b, nil
}

func parseMode(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 8, 16)
	if err != nil || n > 0o1777 || n == 0 {
		return 0, fmt.Errorf("%q: want an octal mode such as 0750", clip(s))
	}
	return uint32(n), nil
}
