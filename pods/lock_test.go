package pods

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Who waited for a pod's end has its lock for a moment, for reading: that is no reason for rm to say that somebody runs it.
func TestLockAmongWaiters(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	pod := &Pod{root: root}
	waiter, err := os.Create(filepath.Join(dir, lockFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := setLock(waiter, unix.F_RDLCK, lifeByte); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = waiter.Close() })
	life, err := pod.LockLife()
	if err != nil {
		t.Fatalf("beside a waiter: %v", err)
	}
	if _, err := pod.LockLife(); !errors.Is(err, ErrBusy) {
		t.Errorf("beside who has it: got %v, want %v", err, ErrBusy)
	}
	if err := life.Release(); err != nil {
		t.Fatal(err)
	}
}
