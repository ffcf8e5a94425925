package tests

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantryrun/gantry/tests/build"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestDependencies compares the modules that each program links with its golden file: a new dependency is a
// decision, and shows up in review as a line.
func TestDependencies(t *testing.T) {
	for program, tags := range map[string]string{"gantry": "", "gantry-fetch": "", "gantry-stage1": "", "gantry-launch": build.LaunchTags} {
		t.Run(program, func(t *testing.T) {
			const format = `{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}`
			cmd := exec.Command("go", "list", "-deps", "-tags", tags, "-f", format, module+"/cmd/"+program)
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("go list: %v", err)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			slices.Sort(lines)
			got := strings.TrimSpace(strings.Join(slices.Compact(lines), "\n")) + "\n"
			golden(t, filepath.Join("testdata", "deps", program+".txt"), got)
		})
	}
}

// golden compares got with a file of testdata, or writes it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (write it with go test ./tests -update)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), rewrite with -update if this is meant:\n%s", file, diff)
	}
}

// TestLicences checks that docs/dependencies.md names every module that a program links.
func TestLicences(t *testing.T) {
	text, err := os.ReadFile("../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/deps/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no lists of dependencies: %v", err)
	}
	for _, file := range files {
		list, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(list)) {
			module, _, _ := strings.Cut(line, " ")
			// github.com/moby/sys/user is a part of github.com/moby/sys; golang.org/x/net is listed as x/net
			short := strings.TrimPrefix(module, "golang.org/")
			if parts := strings.Split(module, "/"); len(parts) > 3 {
				short = strings.Join(parts[:3], "/")
			}
			base := module[strings.LastIndex(module, "/")+1:]
			if !strings.Contains(string(text), short) && !strings.Contains(string(text), ", "+base) {
				t.Errorf("docs/dependencies.md does not name %s, and its licence", module)
			}
		}
	}
}
