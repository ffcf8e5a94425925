package bundle

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Device is a device of the host that an app may use. What ParseDevice leaves zero, who has the host's file fills in.
type Device struct {
	Source, Target string
	Access         string // of "rwm"
	Type           string // "c" or "b"
	Major, Minor   int64
	Mode           fs.FileMode
	UID, GID       uint32
}

// ParseDevice parses /dev/X[:/dev/Y][:rwm].
func ParseDevice(s string) (Device, error) {
	parts := strings.Split(s, ":")
	d := Device{Source: path.Clean(parts[0]), Target: path.Clean(parts[0]), Access: "rw"}
	rest := parts[1:]
	if len(rest) > 0 && path.IsAbs(rest[0]) {
		d.Target, rest = path.Clean(rest[0]), rest[1:]
	}
	if len(rest) > 0 {
		d.Access, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 || !strings.HasPrefix(d.Source, "/dev/") || !strings.HasPrefix(d.Target, "/dev/") || d.Access == "" || strings.Trim(d.Access, "rwm") != "" {
		return d, fmt.Errorf("%q: want /dev/X[:/dev/Y][:rwm]", clip(s))
	}
	return d, nil
}

func devices(in Input) []specs.LinuxDevice {
	var out []specs.LinuxDevice
	if in.Pod.Users {
		return nil // they are mounts: see deviceMount
	}
	for _, d := range in.App.Devices {
		mode, uid, gid := d.Mode, d.UID, d.GID
		out = append(out, specs.LinuxDevice{Path: d.Target, Type: d.Type, Major: d.Major, Minor: d.Minor, FileMode: &mode, UID: &uid, GID: &gid})
	}
	return out
}
