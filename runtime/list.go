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
	Labels   map[string]string `json:"labels,omitempty"`
	// Error says why the rest is missing: a pod that cannot be read is listed all the same.
	Error string `json:"error,omitempty"`
}

// AppSummary is what a list shows of an app.
type AppSummary struct {
	Name    string `json:"name"`
	Image   string `json:"image"`
	ImageID string `json:"imageID"`
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
			for i := w; i < len(uuids); i += workers {
				all[i] = summarize(store, uuids[i])
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
func summarize(store *pods.Store, uuid string) *Summary {
	pod, err := store.Open(uuid)
	if errors.Is(err, pods.ErrNotFound) {
		return nil
	}
	s := &Summary{UUID: uuid, Apps: []AppSummary{}, Networks: []pods.Interface{}}
	if err == nil {
		defer pod.Close()
		err = s.read(pod)
	}
	if err != nil {
		s.Error = err.Error()
	}
	return s
}

// Summarize reads one pod.
func Summarize(pod *pods.Pod) (Summary, error) {
	s := Summary{UUID: pod.UUID, Apps: []AppSummary{}, Networks: []pods.Interface{}}
	return s, s.read(pod)
}

func (s *Summary) read(pod *pods.Pod) (err error) {
	if s.State, err = pod.State(); err != nil {
		return err
	}
	if s.State == pods.Preparing || s.State == pods.Aborted {
		return nil // what is there may be half of it
	}
	m, err := pod.Manifest()
	if err != nil {
		return err
	}
	s.Name, s.Created, s.Labels = m.Name, m.Created, m.Labels
	apps, err := pod.Apps()
	if err != nil {
		return err
	}
	for _, a := range apps {
		s.Apps = append(s.Apps, AppSummary{a.Name, a.Image.Name, a.Image.ID})
	}
	if s.State == pods.Prepared || s.State == pods.Starting {
		return nil
	}
	return s.readRun(pod, m.Net == pods.NetCNI)
}

func (s *Summary) readRun(pod *pods.Pod, networks bool) error {
	run, err := pod.Run()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.Started = run.Started
	if networks {
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
