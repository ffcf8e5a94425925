package pods

import "github.com/gantryrun/gantry/pods/atomicfile"

// Rewrite replaces pod.json, for run-prepared: it holds the life of a pod that nobody has started yet. The conflists that m names and that are new
// come first; what becomes of those that it names no more does not matter.
func (p *Pod) Rewrite(m *Manifest, conflists map[string][]byte) error {
	if err := p.root.MkdirAll("net", 0o700); err != nil {
		return err
	}
	for name, data := range conflists {
		if err := atomicfile.WriteIn(p.root, name, 0o600, data, true); err != nil {
			return err
		}
	}
	data, err := Marshal(m)
	if err != nil {
		return err
	}
	return atomicfile.WriteIn(p.root, manifestFile, 0o600, data, true)
}
