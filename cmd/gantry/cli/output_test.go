package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFullOutput: a result that nobody got is an error like others, and no reason to free space in the data directory.
func TestFullOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, line := range []string{
		"list", "list --format=json", "image list", "image list --format=json", "version", "version --format=json", "config", "help", "run --help",
	} {
		errs, err := os.Create(filepath.Join(t.TempDir(), "err"))
		if err != nil {
			t.Fatal(err)
		}
		defer errs.Close()
		code := Main(append([]string{"--dir=" + t.TempDir()}, strings.Fields(line)...), os.Stdin, full, errs)
		verb, _, _ := strings.Cut(strings.TrimSuffix(line, " --help"), " --")
		if said := read(t, errs); code != 254 || said != "gantry: "+verb+": write result: no space left on device\n" {
			t.Errorf("%s: code %d, %q", line, code, said)
		}
	}
}
