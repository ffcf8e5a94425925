package runtime

import (
	"errors"
	"io/fs"
	goruntime "runtime"
	"slices"
	"sync"
	"time"

	"github.com/gantryrun/gantry/pods"
)

// Summary is what a list shows of a pod.
type Summary struct {
	UUID     string            `json:"uuid"`
	Name     string            `json:"name,omitempty"`
	State    pods.State        `json:"state"`
	Created  time.Time         `json:"created,omitzero"`
	Started  time.Time         `json:"started,omitzero"`
	Finished time.Time         `json:"finished,omitzero"`
	Code     *int              `json:"code,omitempty"`
	Apps     []AppSummary      `json:"apps"`
	Networks []pods.Interface  `json:"networks"`
	Ports    []pods.Port       `json:"ports,omitempty"` // published
	Labels   map[string]string `json:"labels,omitempty"`
	// Error says why the rest is missing: a pod that cannot be read is listed all the same.
	Error string `json:"error,omitempty"`

	cni bool
}

// AppSummary is what a list shows of an app.
type AppSummary struct {
	Name    string `json:"name"`
	Image   string `json:"image"`
	ImageID string `json:"imageID"`
}

// List reads every pod, the oldest first, taking no lock and asking nothing but the pod directories. Broken pods are listed with
// their error. Without ends, how and when pods ended stays unread: half of the files of a long list of exited pods.
func List(store *pods.Store, ends bool) ([]Summary, error) {
	uuids, err := store.UUIDs()
	if err != nil {
		return nil, err
	}
	all := make([]*Summary, len(uuids))
	var wg sync.WaitGroup
	workers := min(len(uuids), 2*goruntime.GOMAXPROCS(0))
	for w := range workers {
		wg.Go(func() {
			glancer := store.Glancer()
			for i := w; i < len(uuids); i += workers {
				all[i] = summarize(store, glancer, uuids[i], ends)
			}
		})
	}
	wg.Wait()
	list := make([]Summary, 0, len(all))
	for _, s := range all {
		if s != nil {
			list = append(list, *s)
		}
	}
	slices.SortFunc(list, func(a, b Summary) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return compareText(a.UUID, b.UUID)
	})
	return list, nil
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// summarize returns nil for a pod that is gone by now.
func summarize(store *pods.Store, glancer *pods.Glancer, uuid string, ends bool) *Summary {
	g, err := glancer.Glance(uuid)
	if errors.Is(err, pods.ErrNotFound) {
		return nil
	}
	s := newSummary(uuid, g)
	if err == nil && (ends || s.State == pods.Running) {
		err = s.readMore(store)
	}
	if err != nil {
		s.Error = err.Error()
	}
	return s
}

// newSummary takes what a glance saw; g may be nil, and may have seen only the state.
func newSummary(uuid string, g *pods.Glance) *Summary {
	s := &Summary{UUID: uuid, Apps: []AppSummary{}, Networks: []pods.Interface{}}
	if g == nil {
		return s
	}
	s.State = g.State
	if m := g.Manifest; m != nil {
		s.Name, s.Created, s.Ports, s.Labels, s.cni = m.Name, m.Created, m.Ports, m.Labels, m.Net == pods.NetCNI
	}
	if g.Run != nil {
		s.Started = g.Run.Started
	}
	for _, a := range g.Apps {
		s.Apps = append(s.Apps, AppSummary{a.Name, a.Image.Name, a.Image.ID})
	}
	return s
}

// Summarize reads one pod.
func Summarize(store *pods.Store, uuid string) (*Summary, error) {
	g, err := store.Glance(uuid)
	if err != nil {
		return nil, err
	}
	s := newSummary(uuid, g)
	return s, s.readMore(store)
}

// readMore reads the networks, and how the pod ended.
func (s *Summary) readMore(store *pods.Store) error {
	if s.State != pods.Running && s.State != pods.Exiting && s.State != pods.Exited {
		return nil
	}
	pod, err := store.Open(s.UUID)
	if err != nil {
		return err
	}
	defer pod.Close()
	if s.cni {
		net, err := pod.Net()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.Networks = append(s.Networks, net.Interfaces...)
	}
	if s.State == pods.Running {
		return nil
	}
	exit, err := pod.Exit()
	switch {
	case err == nil:
		s.Finished, s.Code = exit.Finished, &exit.Code
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}
