package stage1

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// pluginCgroup gives the cgroup in which network plugins are born: one of the pod's own. So the pod's end finds what they have left
// running, and gc finds the plugins themselves when the supervisor was killed meanwhile. It is made for the first one, since most pods
// execute none. A host without cgroup2 has nothing to be born in.
func (s *supervisor) pluginCgroup() (*os.File, error) {
	if s.plugins != nil {
		return s.plugins, nil
	}
	switch h := s.cgroup.hybrid; {
	case h != nil: // no controller keeps processes out of it
		if err := h.make(); err != nil {
			return nil, err
		}
		s.plugins = h.cgroup
	case isUnified():
		dir := filepath.Join(s.cgroup.dirs[0], "_plugins") // no app can be called so
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		f, err := os.Open(dir)
		if err != nil {
			return nil, err
		}
		s.plugins = f
	default:
		return nil, nil
	}
	s.undo.push("what network plugins have started", func(context.Context) error { return killIn(s.plugins) })
	return s.plugins, nil
}

// killIn kills all in a cgroup that may be hidden from this mount namespace.
func killIn(cgroup *os.File) error {
	path := fmt.Sprintf("/proc/self/fd/%d/.", cgroup.Fd()) // the dot: a walk follows no link
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return killCgroups([]string{path}, "", killPatience)
}
