package runtime

import (
	"testing"
	"time"

	"github.com/gantryrun/gantry/pods"
)

// BenchmarkList lists 500 exited pods, as `gantry list` does.
func BenchmarkList(b *testing.B) {
	store := pods.In(b.TempDir())
	for range 500 {
		d, err := store.Draft(pods.NewUUID())
		if err != nil {
			b.Fatal(err)
		}
		m := &pods.Manifest{Net: pods.NetNone, Created: time.Now()}
		app := &pods.App{Name: "app", Exec: []string{"/bin/app"}}
		run := &pods.Run{BootID: pods.BootID(), Started: time.Now()}
		if err := d.AddApp(app); err != nil {
			b.Fatal(err)
		}
		if err := d.WriteRun(run); err != nil {
			b.Fatal(err)
		}
		if err := d.WriteExit(&pods.Exit{Finished: time.Now(), Pod: pods.NewDigest(m, run.Started, []*pods.App{app}, nil)}); err != nil {
			b.Fatal(err)
		}
		lock, err := d.Commit(m, false)
		if err != nil {
			b.Fatal(err)
		}
		_ = lock.Release()
		_ = d.Close()
	}
	for b.Loop() {
		if list, err := List(store); err != nil || len(list) != 500 {
			b.Fatal(len(list), err)
		}
	}
}
