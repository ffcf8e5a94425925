package build

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The tests build the programs as make does.
func TestAsMakefile(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("skipped: make is not installed")
	}
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("make", "-n", "-C", root, "BIN=bin", "GO=go", "CC=gcc", "gantry", "launch", "init").Output()
	if err != nil {
		t.Fatalf("make -n: %v", err)
	}
	recipe := strings.ReplaceAll(string(out), `"`, "")
	for _, c := range goCommands("bin") {
		if line := "CGO_ENABLED=" + c.cgo + " " + strings.Join(c.args, " "); !strings.Contains(recipe, line) {
			t.Errorf("make does not do what the tests do:\n%s\nbut:\n%s", line, recipe)
		}
	}
	_, compile, _ := strings.Cut(recipe, "\ngcc ")
	compile, _, _ = strings.Cut(compile, " -o ")
	var flags []string
	for f := range strings.FieldsSeq(compile) {
		if f != "-Wall" && f != "-Wextra" && f != "-Werror" {
			flags = append(flags, f)
		}
	}
	if !slices.Equal(flags, initFlags) {
		t.Errorf("make compiles gantry-init with %q, the tests with %q", flags, initFlags)
	}
}
