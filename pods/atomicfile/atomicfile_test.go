package atomicfile_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods/atomicfile"
	"github.com/gantryrun/gantry/tests/box"
)

func TestMain(m *testing.M) { os.Exit(box.Main(m)) }

// What was reserved can be written though the disk is full; what was not, cannot.
func TestReserved(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	for _, kind := range []string{"ext4", "tmpfs"} {
		dir := filepath.Join(t.TempDir(), kind)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		mount(t, kind, dir)
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if err := atomicfile.Reserve(root, "exit.json", 4096); err != nil {
			t.Fatal(err)
		}
		fill(t, filepath.Join(dir, "ballast"))
		if err := atomicfile.WriteIn(root, "other.json", 0o600, make([]byte, 100), false); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: the disk is not full: %v", kind, err)
		}
		want := bytes.Repeat([]byte("x"), 4000)
		if err := atomicfile.WriteReserved(root, "exit.json", 0o600, want); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if got, err := root.ReadFile("exit.json"); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", kind, len(got), err)
		}
		unix.Sync()
	}
}

func mount(t *testing.T, kind, dir string) {
	t.Helper()
	if kind == "tmpfs" {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
			t.Fatal(err)
		}
	} else if out, err := exec.Command("sh", "-ec", `truncate -s 4M "$0.img"; mke2fs -q -t ext4 -m 0 "$0.img"; mount -o loop "$0.img" "$0"`, dir).CombinedOutput(); err != nil {
		t.Fatalf("mount ext4: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// fill writes until nothing fits any more.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	_ = f.Sync()
}
