package runtime

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/pods/atomicfile"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// addSeccomp puts the filter where who installs it looks: gantry-init, last before the app's own program, from a compiled program
// that all apps with the same profile share; or, where the app may gain privileges, libcontainer, from config.json.
func (r *Runtime) addSeccomp(built *bundle.Result) (*pods.Seccomp, error) {
	if built.Seccomp == nil {
		return nil, nil
	}
	if !built.Spec.Process.NoNewPrivileges {
		profile, err := built.Seccomp.Profile()
		if err != nil {
			return nil, fmt.Errorf("seccomp: %w", err)
		}
		built.Spec.Linux.Seccomp = profile
		return nil, nil
	}
	base := filepath.Join(r.Dir, "seccomp", built.Seccomp.Key)
	cache := &pods.Seccomp{Profile: base + ".json", Program: base + ".bpf"}
	if cached(cache) {
		return cache, nil
	}
	profile, err := built.Seccomp.Profile()
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	data, err := json.Marshal(profile)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(base), 0o700); err != nil {
		return nil, err
	}
	// A cache: what a power cut takes, the next run makes again.
	if err := atomicfile.Write(cache.Profile, 0o600, data, false); err != nil {
		return nil, fmt.Errorf("cache seccomp profile: %w", err)
	}
	return cache, nil
}

// cached reports whether the cache holds a whole profile; what is damaged, as by a power cut, counts as missing. (The launcher
// checks the program against it.)
func cached(s *pods.Seccomp) bool {
	info, err := os.Stat(s.Profile)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	data, err := os.ReadFile(s.Profile)
	return err == nil && json.Valid(data)
}
