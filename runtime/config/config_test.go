package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write makes the files of one configuration directory.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoad(t *testing.T) {
	system := write(t, map[string]string{
		"paths.d/a.json":    `{"kind":"paths","version":"v1","data":"/system","cni":["/a"]}`,
		"stage1.d/x.json":   `{"kind":"stage1","version":"v1","default":"default","path":"/opt/gantry"}`,
		"paths.d/README":    `not ours`,
		"paths.d/sub/z.txt": `not ours`,
	})
	local := write(t, map[string]string{
		"paths.d/a.json": `{"kind":"paths","version":"v1","data":"/local"}`,
		"paths.d/b.json": `{"kind":"paths","version":"v1","cni":["/b","/c"]}`,
	})
	got, err := Load(Dirs{System: system, Local: local, User: filepath.Join(local, "missing")})
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{Data: "/local", CNI: []string{"/b", "/c"}, Stage1: "default", Stage1Path: "/opt/gantry"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := Load(Dirs{}); err != nil || !cmp.Equal(got, &Config{}) {
		t.Errorf("no directories: %+v %v", got, err)
	}
}

func TestLoadErrors(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"unknown field", map[string]string{"paths.d/a.json": `{"kind":"paths","version":"v1","date":"/x"}`}, `paths.d/a.json: json: unknown field "date"`},
		{"no JSON", map[string]string{"paths.d/a.json": `data: /x`}, "paths.d/a.json"},
		{"wrong kind", map[string]string{"paths.d/a.json": `{"kind":"stage1","version":"v1"}`}, `want "kind": "paths"`},
		{"wrong version", map[string]string{"stage1.d/a.json": `{"kind":"stage1","version":"v2"}`}, `"version": "v1"`},
		{"relative data", map[string]string{"paths.d/a.json": `{"kind":"paths","version":"v1","data":"x"}`}, "want an absolute path"},
		{"relative plugins", map[string]string{"paths.d/a.json": `{"kind":"paths","version":"v1","cni":["/x","y"]}`}, `cni "y": want an absolute path`},
		{"relative programs", map[string]string{"stage1.d/a.json": `{"kind":"stage1","version":"v1","path":"x"}`}, `path "x": want an absolute path`},
		{"said twice", map[string]string{
			"paths.d/a.json": `{"kind":"paths","version":"v1","data":"/x"}`, "paths.d/b.json": `{"kind":"paths","version":"v1","data":"/y"}`,
		}, "paths.d/b.json says again"},
		{"flavour", map[string]string{"stage1.d/a.json": `{"kind":"stage1","version":"v1","default":"kvm"}`}, "want default or chroot"},
		{"a directory", map[string]string{"paths.d/a.json/x": ``}, "paths.d/a.json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(Dirs{Local: write(t, tt.files)})
			if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
