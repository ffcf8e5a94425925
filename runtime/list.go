package runtime

import (
	"errors"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gantryrun/gantry/pods"
)

// Summary is what a list shows of a pod.
type Summary struct {
	UUID  string     `json:"uuid"`
	State pods.State `json:"state"`
	pods.Digest
	Finished time.Time `json:"finished,omitzero"`
	Code     *int      `json:"code,omitempty"`
	// Error says why the rest is missing: a pod that cannot be read is listed all the same.
	Error string `json:"error,omitempty"`
}

// List reads every pod, the oldest first, taking no lock and asking nothing but the pod directories. Broken pods are listed with
// their error.
func List(store *pods.Store) ([]Summary, error) {
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
				all[i] = summarize(glancer, uuids[i])
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
		return strings.Compare(a.UUID, b.UUID)
	})
	return list, nil
}

// summarize returns nil for a pod that is gone by now.
func summarize(glancer *pods.Glancer, uuid string) *Summary {
	g, err := glancer.Glance(uuid)
	if errors.Is(err, pods.ErrNotFound) {
		return nil
	}
	s := newSummary(uuid, g)
	if err != nil {
		s.Error = err.Error()
	}
	return s
}

// newSummary takes what a glance saw; g may be nil.
func newSummary(uuid string, g *pods.Glance) *Summary {
	if g == nil {
		return &Summary{UUID: uuid, Digest: *pods.NewDigest(nil, time.Time{}, nil, nil)}
	}
	s := &Summary{UUID: uuid, State: g.State, Digest: g.Digest}
	if g.Exit != nil {
		s.Finished, s.Code = g.Exit.Finished, &g.Exit.Code
	}
	return s
}

// Summarize reads one pod.
func Summarize(store *pods.Store, uuid string) (*Summary, error) {
	g, err := store.Glance(uuid)
	if err != nil {
		return nil, err
	}
	return newSummary(uuid, g), nil
}
