package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Programs says where gantry's other programs are looked for. The zero value is beside gantry, then in libexec of the
// same prefix, then in libexec of /usr.
type Programs struct {
	Dir string // stage1.d's "path"; searched first
}

// libexec is where `make install` puts them.
const libexec = "/usr/libexec/gantry"

// Dirs are the directories that are searched, in order.
func (p Programs) Dirs() []string {
	dirs := []string{p.Dir}
	if self, err := os.Executable(); err == nil { // without /proc only the fixed place is left
		dir := filepath.Dir(self)
		dirs = append(dirs, dir, filepath.Join(filepath.Dir(dir), "libexec/gantry"))
	}
	return slices.Compact(slices.DeleteFunc(append(dirs, libexec), func(d string) bool { return d == "" }))
}

// Find is the path of the program called name. ErrProgram.
func (p Programs) Find(name string) (string, error) {
	for _, dir := range p.Dirs() {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: %s is not in %v", ErrProgram, name, p.Dirs())
}

// PluginDirs are the directories of CNI plugins: gantry's own, then where distributions put them.
func (p Programs) PluginDirs() []string {
	var dirs []string
	for _, d := range p.Dirs() {
		dirs = append(dirs, filepath.Join(d, "cni"))
	}
	return append(dirs, "/opt/cni/bin", "/usr/lib/cni")
}

const (
	stage1Program = "gantry-stage1"
	launchProgram = "gantry-launch"
)
