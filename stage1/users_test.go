package stage1

import (
	"os"
	"testing"

	"github.com/gantryrun/gantry/tests/box"
)

// Users of a pod whose directory is not to be seen, because its disk is not mounted here, are not given away while it has a cgroup.
func TestFreeUsers(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	const uuid, other = "00000007-7148-4b26-a60b-4769c5a6d492", "00000007-b148-4b26-a60b-4769c5a6d493"
	dir, err := lockUsers()
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	first, err := freeUsers(uuid)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/no/such/disk/pods/"+uuid, usersPath(first)); err != nil {
		t.Fatal(err)
	}
	cg, err := findCgroup(uuid, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(cg.dirs[0], 0o755); err != nil {
		t.Fatal(err)
	}
	if r, err := freeUsers(other); err != nil || r.Base == first.Base {
		t.Errorf("the users of a pod that may live were given away: %+v, %v", r, err)
	}
	if err := os.Remove(cg.dirs[0]); err != nil {
		t.Fatal(err)
	}
	if r, err := freeUsers(other); err != nil || r.Base != first.Base {
		t.Errorf("the users of a pod that was deleted by hand are not free: %+v, %v", r, err)
	}
}
