package launch

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRootDir: what an image puts in place of a directory or file after it was looked at is never followed, and nothing is made behind it.
func TestRootDir(t *testing.T) {
	outside := t.TempDir()
	for _, tc := range []struct {
		name   string
		links  map[string]string
		target string
		open   func(rootDir, string) (int, error)
		want   error
	}{
		{"directory", nil, "/a/b", rootDir.directory, nil},
		{"file", nil, "/a/b", rootDir.file, nil},
		{"link for a directory", map[string]string{"a": outside}, "/a", rootDir.directory, unix.ELOOP},
		{"link for a parent", map[string]string{"a": outside}, "/a/b", rootDir.directory, unix.ELOOP},
		{"link for a file", map[string]string{"a": outside + "/f"}, "/a", rootDir.file, unix.ELOOP},
		{"link for a file's parent", map[string]string{"a": outside}, "/a/b", rootDir.file, unix.ELOOP},
		{"link inside", map[string]string{"a": "b"}, "/a", rootDir.directory, unix.ELOOP},
		{"link to /proc", map[string]string{"a": "/proc/self/fd"}, "/a/0", rootDir.file, unix.ELOOP},
		{"way out", nil, "/../../../a", rootDir.directory, nil},
		{"file for a directory", map[string]string{"a": ""}, "/a", rootDir.directory, unix.ENOTDIR},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, target := range tc.links {
				err := os.Symlink(target, filepath.Join(dir, name))
				if target == "" {
					err = os.WriteFile(filepath.Join(dir, name), nil, 0o644)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			root, err := openRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.close()
			fd, err := tc.open(root, tc.target)
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if err == nil {
				_ = unix.Close(fd)
				if _, err := os.Stat(filepath.Join(dir, filepath.Join("/", tc.target))); err != nil {
					t.Error(err)
				}
			}
			if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
				t.Errorf("made outside: %v, %v", left, err)
			}
		})
	}
}
