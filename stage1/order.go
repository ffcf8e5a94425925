package stage1

import (
	"fmt"

	"github.com/gantryrun/gantry/pods"
)

// levels puts the apps into the order of their start: those of one level start together, after all of the level
// before. They stop in the reverse order.
func levels(apps []*pods.App) ([][]*pods.App, error) {
	depth := map[string]int{}
	byName := map[string]*pods.App{}
	for _, a := range apps {
		byName[a.Name] = a
	}
	var visit func(a *pods.App, trail int) (int, error)
	visit = func(a *pods.App, trail int) (int, error) {
		if d, ok := depth[a.Name]; ok {
			return d, nil
		}
		if trail > len(apps) {
			return 0, fmt.Errorf("app %s starts after itself: break the circle of --after", a.Name)
		}
		d := 0
		for _, name := range a.After {
			before, ok := byName[name]
			if !ok {
				return 0, fmt.Errorf("app %s starts after %q, which the pod does not have", a.Name, name)
			}
			n, err := visit(before, trail+1)
			if err != nil {
				return 0, err
			}
			d = max(d, n+1)
		}
		depth[a.Name] = d
		return d, nil
	}
	var out [][]*pods.App
	for _, a := range apps {
		d, err := visit(a, 0)
		if err != nil {
			return nil, err
		}
		for len(out) <= d {
			out = append(out, nil)
		}
		out[d] = append(out[d], a)
	}
	return out, nil
}
