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
		if err := d.AddApp(&pods.App{Name: "app", Exec: []string{"/bin/app"}}); err != nil {
			b.Fatal(err)
		}
		if err := d.WriteRun(&pods.Run{BootID: pods.BootID(), Started: time.Now()}); err != nil {
			b.Fatal(err)
		}
		if err := d.WriteExit(&pods.Exit{Finished: time.Now()}); err != nil {
			b.Fatal(err)
		}
		lock, err := d.Commit(&pods.Manifest{Net: pods.NetNone, Created: time.Now()}, false)
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
