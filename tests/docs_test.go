package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var link = regexp.MustCompile(`\]\(([^)#:]+)\)`)

// TestLinks checks that what the documents link to is there.
func TestLinks(t *testing.T) {
	for _, pattern := range []string{"../*.md", "../docs/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range link.FindAllStringSubmatch(string(text), -1) {
				if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
					t.Errorf("%s links to %s, which is not there", file, m[1])
				}
			}
		}
	}
}

// TestMakefile checks that the Makefile stays what it is for: short, recipes and no logic.
func TestMakefile(t *testing.T) {
	text, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n >= 100 {
		t.Errorf("the Makefile has %d lines; it is to stay below 100", n)
	}
	for _, word := range []string{"ifeq", "ifdef", "ifneq", "define ", "eval"} {
		if strings.Contains(string(text), word) {
			t.Errorf("the Makefile has logic: %s", word)
		}
	}
}

// TestRepository checks that what is built is not committed.
func TestRepository(t *testing.T) {
	out, err := exec.Command("git", "-C", "..", "ls-files").Output()
	if err != nil {
		t.Skipf("skipped: not a git work tree: %v", err)
	}
	for file := range strings.Lines(string(out)) {
		file = strings.TrimSpace(file)
		if strings.HasPrefix(file, "bin/") || strings.HasSuffix(file, ".test") || strings.HasPrefix(file, "vendor/") {
			t.Errorf("%s is built, or somebody else's: it does not belong into the repository", file)
		}
	}
}
