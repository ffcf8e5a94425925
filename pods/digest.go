package pods

import (
	"slices"
	"time"
)

// Digest is what a list shows of a pod. When the pod is over nothing of it changes any more, and exit.json has a copy: a list of
// thousands of pods then reads one file of each.
type Digest struct {
	Name     string            `json:"name,omitempty"`
	Created  time.Time         `json:"created,omitzero"`
	Started  time.Time         `json:"started,omitzero"`
	Apps     []AppDigest       `json:"apps"` // in the order of the command line
	Networks []Interface       `json:"networks"`
	Ports    []Port            `json:"ports,omitempty"` // published
	Labels   map[string]string `json:"labels,omitempty"`
}

// AppDigest is what a list shows of an app.
type AppDigest struct {
	Name    string `json:"name"`
	Image   string `json:"image"`
	ImageID string `json:"imageID"`
}

// NewDigest makes one of a pod's files; what does not exist is nil. It sorts apps.
func NewDigest(m *Manifest, started time.Time, apps []*App, n *Net) *Digest {
	d := &Digest{Started: started, Apps: []AppDigest{}, Networks: []Interface{}}
	if m != nil {
		d.Name, d.Created, d.Ports, d.Labels = m.Name, m.Created, m.Ports, m.Labels
	}
	slices.SortFunc(apps, func(a, b *App) int { return a.Order - b.Order })
	for _, a := range apps {
		d.Apps = append(d.Apps, AppDigest{a.Name, a.Image.Name, a.Image.ID})
	}
	if n != nil {
		d.Networks = append(d.Networks, n.Interfaces...)
	}
	return d
}
