package pods

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCheckOwners(t *testing.T) {
	dir := t.TempDir()
	if err := CheckOwners(dir); err != nil {
		t.Errorf("a directory of root's below a sticky one: %v", err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	pod := filepath.Join(open, "pod")
	if err := os.Mkdir(pod, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := CheckOwners(pod); err == nil {
		t.Error("a path through a directory that all may write is trusted")
	}
	foreign := filepath.Join(dir, "foreign")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(foreign, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	if err := CheckOwners(foreign); err == nil {
		t.Error("another user's directory is trusted")
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := CheckOwners(link); err != nil {
		t.Errorf("a link of root's to a directory of root's: %v", err)
	}
	if err := os.Symlink(open, filepath.Join(dir, "astray")); err != nil {
		t.Fatal(err)
	}
	if err := CheckOwners(filepath.Join(dir, "astray")); err == nil {
		t.Error("a link to a directory that all may write is trusted")
	}
}
