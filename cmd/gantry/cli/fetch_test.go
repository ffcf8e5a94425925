package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFetchIntoForeignDir: what others may write cannot be trusted afterwards; run refuses it, and fetch does before it stores.
func TestFetchIntoForeignDir(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: another user's data directory is that user's matter")
	}
	dir := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{dir, filepath.Join(dir, "data")} {
		_, stderr, code := gantry(t, "--dir="+data, "fetch", "oci:/nowhere")
		if want := "gantry: fetch: " + dir + " may be written by others than root: chmod go-w it\n"; code != 254 || !strings.HasPrefix(stderr, want) {
			t.Errorf("%s: %d %q", data, code, stderr)
		}
	}
}
