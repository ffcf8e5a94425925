package pods_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gantryrun/gantry/pods"
)

// The pod directories that are kept of each format can be read, all of them.
func TestGolden(t *testing.T) {
	kept, err := filepath.Glob("testdata/v*/*")
	if err != nil || len(kept) == 0 {
		t.Fatalf("no pod directory is kept: %v", err)
	}
	for _, dir := range kept {
		uuid := filepath.Base(dir)
		t.Run(uuid, func(t *testing.T) {
			store := pods.In(t.TempDir())
			if err := os.CopyFS(store.PodPath(uuid), os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			pod, err := store.Open(uuid)
			if err != nil {
				t.Fatal(err)
			}
			defer pod.Close()
			readGolden(t, pod)
			if err := store.Remove(pod); err != nil {
				t.Error(err)
			}
		})
	}
}

func readGolden(t *testing.T, pod *pods.Pod) {
	t.Helper()
	if s, err := pod.State(); s != pods.Exited || err != nil {
		t.Errorf("state is %s (%v)", s, err)
	}
	m, err := pod.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if m.UUID != pod.UUID || len(m.Ports) != 1 || len(m.Networks) != 1 || m.Labels["kept"] != "yes" {
		t.Errorf("manifest: %+v", m)
	}
	if r, err := pod.Run(); err != nil || r.PID == 0 || len(r.Cgroups) == 0 {
		t.Errorf("run: %+v (%v)", r, err)
	}
	if n, err := pod.Net(); err != nil || len(n.Interfaces) != 1 {
		t.Errorf("net: %+v (%v)", n, err)
	}
	if e, err := pod.Exit(); err == nil && e.Code != 4 {
		t.Errorf("exit: %+v", e)
	}
	apps, err := pod.Apps()
	if err != nil || len(apps) != 2 || apps[0].Name != "db" || !apps[0].Essential {
		t.Fatalf("apps: %+v (%v)", apps, err)
	}
	if r, _, err := pod.LastRun("db"); err != nil || r.Code != 4 {
		t.Errorf("last run of db: %+v (%v)", r, err)
	}
}
