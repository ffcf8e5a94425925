package cli

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// hostPaths are the flags whose value is a path of this host.
var hostPaths = []string{
	"pod-manifest", "uuid-file-save", "set-env-file", "stage1-path", "signature", "dir", "system-config", "local-config", "user-config",
}

// unitWord is a word of a line of run as a unit says it: a path of this host is absolute, because units start in /.
func unitWord(w lineWord) (string, error) {
	switch {
	case w.image:
		if ref, err := image.ParseRef(w.text); err == nil && ref.Path != "" {
			return ref.String(), nil
		}
		return w.text, nil
	case w.flag == nil, w.flag.NoOptDefVal != "" && w.value == w.flag.NoOptDefVal:
		return w.text, nil
	}
	value, err := w.value, error(nil)
	switch name := canonicalName(w.flag); {
	case slices.Contains(hostPaths, name), name == "seccomp" && isProfile(value):
		value, err = unitPath(value)
	case name == "bind":
		value, err = absoluteBind(value)
	}
	return w.text + "=" + value, err
}

// isProfile says whether the value of --seccomp is a path.
func isProfile(s string) bool {
	_, known, err := bundle.ParseSeccomp(s)
	return err == nil && !known
}

// unitPath leaves alone what begins with a specifier or variable of systemd's.
func unitPath(path string) (string, error) {
	if strings.HasPrefix(path, "%") || strings.HasPrefix(path, "$") {
		return path, nil
	}
	return filepath.Abs(path)
}
