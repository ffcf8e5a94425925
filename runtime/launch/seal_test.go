package launch

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSealed: what an app can get hold of through /proc runs, and cannot be opened for writing.
func TestSealed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: mounting needs root")
	}
	for name, open := range map[string]func(string) (*os.File, error){"copy": sealedCopy, "mount": readOnlyMount} {
		t.Run(name, func(t *testing.T) {
			program := t.TempDir() + "/true"
			data, err := os.ReadFile("/bin/true")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(program, data, 0o755); err != nil {
				t.Fatal(err)
			}
			f, err := open(program)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
			if err := exec.Command(path).Run(); err != nil {
				t.Errorf("execute: %v", err)
			}
			if w, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
				if _, err := w.Write([]byte("x")); !errors.Is(err, unix.EPERM) {
					t.Errorf("write: %v, want EPERM", err)
				}
				w.Close()
			} else if !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EPERM) {
				t.Errorf("open for writing: %v, want EROFS", err)
			}
			if err := os.Truncate(path, 0); err == nil {
				t.Error("truncate: no error")
			}
		})
	}
}
