package fetch

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
	"github.com/gantryrun/gantry/tests/craft"
)

func TestF3Confusion(t *testing.T) {
	for _, tc := range craft.Documents() {
		t.Run(tc.Name, func(t *testing.T) {
			_, err := parseDocument([]byte(tc.Text), tc.ContentType)
			if tc.OK != (err == nil) || (err != nil && !errors.Is(err, image.ErrManifest)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNestedIndexes(t *testing.T) {
	reg := newRegistry(t)
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "a", "a")))
	for depth, ok := range map[int]bool{1: true, 4: true, 5: false, 50: false} {
		c := newClient(t)
		dir := t.TempDir()
		if _, err := c.Fetch(t.Context(), ref, order.Options{KeepBlobs: true}); err != nil {
			t.Fatal(err)
		}
		img, err := c.Store.Get(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		nest(t, c, dir, img.ID.String(), depth)
		_, err = newClient(t).Fetch(t.Context(), mustRef(t, "oci:"+dir), order.Options{})
		if ok != (err == nil) {
			t.Errorf("depth %d: %v", depth, err)
		}
	}
}

func TestPlatforms(t *testing.T) {
	p := func(s string) ocispec.Platform {
		parts := strings.Split(s+"//", "/")
		return ocispec.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
	}
	for _, tc := range []struct {
		want    string
		offered []string
		picked  int
	}{
		{"linux/amd64", []string{"linux/arm64", "linux/amd64"}, 1},
		{"linux/amd64", []string{"windows/amd64", "linux/amd64/v1"}, 1},
		{"linux/amd64", []string{"linux/amd64/v3", "linux/amd64"}, 1},
		{"linux/amd64", []string{"linux/amd64/v3"}, -1},
		{"linux/arm64", []string{"linux/arm64"}, 0},
		{"linux/arm64", []string{"linux/arm/v7", "linux/arm64/v8"}, 1},
		{"linux/arm", []string{"linux/arm/v5", "linux/arm/v6", "linux/arm/v7"}, 2},
		{"linux/arm", []string{"linux/arm/v5", "linux/arm/v6"}, 1},
		{"linux/arm/v6", []string{"linux/arm/v7", "linux/arm/v5"}, 1},
		{"linux/arm/v5", []string{"linux/arm/v6", "linux/arm/v7"}, -1},
		{"linux/amd64", nil, -1},
		{"linux/amd64", []string{"linux/amd64", "linux/amd64"}, 0},
	} {
		want, err := parsePlatform(tc.want)
		if err != nil {
			t.Fatal(err)
		}
		index := &ocispec.Index{}
		for i, s := range tc.offered {
			platform := p(s)
			index.Manifests = append(index.Manifests, ocispec.Descriptor{Size: int64(i), Platform: &platform})
		}
		got, err := choose(index, want)
		if tc.picked < 0 {
			if !errors.Is(err, image.ErrPlatform) {
				t.Errorf("%s of %v: %v", tc.want, tc.offered, err)
			}
			continue
		}
		if err != nil || got.Size != int64(tc.picked) {
			t.Errorf("%s of %v: picked %d, %v", tc.want, tc.offered, got.Size, err)
		}
	}
	for _, bad := range []string{"linux", "linux/", "/amd64", "a/b/c/d"} {
		if _, err := parsePlatform(bad); err == nil {
			t.Errorf("platform %q parses", bad)
		}
	}
	if s := platformString(ocispec.Platform{OS: "\x1b[31m", Architecture: "x"}); strings.Contains(s, "\x1b") {
		t.Errorf("raw escape in %s", s)
	}
}

func FuzzParseDocument(f *testing.F) {
	for _, d := range craft.Documents() {
		f.Add([]byte(d.Text), d.ContentType)
	}
	f.Fuzz(func(t *testing.T, raw []byte, contentType string) {
		doc, err := parseDocument(raw, contentType)
		if err != nil {
			return
		}
		if (doc.manifest == nil) == (doc.index == nil) {
			t.Fatal("neither or both")
		}
		if doc.manifest != nil {
			for _, l := range doc.manifest.Layers {
				if err := checkDescriptor(l); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := fmt.Sscanf(string(doc.digest), "sha256:%x", new([]byte)); err != nil {
			t.Fatal(err)
		}
	})
}
