package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	maxFile     = 400 // lines
	maxFunc     = 70
	maxTestFunc = 100 // a table of cases is data
)

// longer names what may be longer than a screen, and why. It is to get shorter.
var longer = map[string]string{
	"image/signature/mutations_test.go:TestMutations": "a table of mutations, a line or two each",
}

// TestShape checks the size of files and functions: a file is one idea, a function fits a screen.
func TestShape(t *testing.T) {
	for _, p := range list(t) {
		files, err := filepath.Glob(filepath.Join(p.dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name := strings.TrimPrefix(p.path, "./") + "/" + filepath.Base(file)
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			checkLength(t, name, set.File(f.FileStart).LineCount(), maxFile)
			limit := maxFunc
			if strings.HasSuffix(file, "_test.go") {
				limit = maxTestFunc
			}
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if ok && fn.Body != nil {
					lines := set.Position(fn.End()).Line - set.Position(fn.Pos()).Line + 1
					checkLength(t, name+":"+fn.Name.Name, lines, limit)
				}
			}
		}
	}
}

func checkLength(t *testing.T, name string, lines, limit int) {
	t.Helper()
	reason, known := longer[name]
	switch {
	case lines > limit && !known:
		t.Errorf("%s has %d lines, more than %d: split it", name, lines, limit)
	case lines <= limit && known:
		t.Errorf("%s is short now: take it out of the exceptions (%q)", name, reason)
	}
}

// TestPackages checks that every package says what it is, and is not named for being of use.
func TestPackages(t *testing.T) {
	for _, p := range list(t) {
		if p.doc == "" {
			t.Errorf("%s has no doc comment: what does it know, what does it never do, what is its invariant?", p.path)
		}
		if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "types", "misc"}, p.name) {
			t.Errorf("%s: package %s is named for nothing", p.path, p.name)
		}
	}
}

// TestInits checks that the only init() is the launcher's: it has to run before Go's threads.
func TestInits(t *testing.T) {
	for _, p := range list(t) {
		for _, name := range p.files {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" && p.path != "./cmd/gantry-launch" {
					t.Errorf("%s/%s has an init(): state that nobody asked for", p.path, name)
				}
			}
		}
	}
}
