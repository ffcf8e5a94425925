package fetch

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	hexA       = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	configDesc = `{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:` + hexA + `","size":2}`
	layerDesc  = `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:` + hexA + `","size":2}`
	imageDesc  = `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + hexA + `","size":2}`
)

func TestF3Confusion(t *testing.T) {
	good := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":` + configDesc + `,"layers":[` + layerDesc + `]}`
	for name, tc := range map[string]struct {
		doc, contentType string
		ok               bool
	}{
		"manifest":                    {good, ocispec.MediaTypeImageManifest, true},
		"manifest, type unknown":      {good, "", true},
		"manifest, charset":           {good, ocispec.MediaTypeImageManifest + "; charset=utf-8", true},
		"manifest called JSON":        {good, "application/json", true},
		"no media type of its own":    {strings.Replace(good, `"mediaType":"application/vnd.oci.image.manifest.v1+json",`, "", 1), dockerManifest, true},
		"index":                       {`{"schemaVersion":2,"manifests":[` + imageDesc + `]}`, ocispec.MediaTypeImageIndex, true},
		"empty index":                 {`{"schemaVersion":2,"manifests":[]}`, dockerList, true},
		"labels in other cases":       {strings.Replace(good, `"schemaVersion"`, `"annotations":{"Size":"1","size":"2"},"schemaVersion"`, 1), "", true},
		"both":                        {strings.TrimSuffix(good, "}") + `,"manifests":[` + imageDesc + `]}`, "", false},
		"both, empty":                 {strings.TrimSuffix(good, "}") + `,"manifests":[]}`, "", false},
		"index with config":           {`{"schemaVersion":2,"manifests":[],"config":` + configDesc + `}`, "", false},
		"manifest served as index":    {good, ocispec.MediaTypeImageIndex, false},
		"index served as manifest":    {`{"schemaVersion":2,"manifests":[]}`, ocispec.MediaTypeImageManifest, false},
		"served as Docker's":          {good, dockerManifest, false},
		"calls itself index":          {strings.Replace(good, "image.manifest", "image.index", 1), "", false},
		"unknown type":                {good, "application/vnd.example+json", false},
		"HTML":                        {"<html>", "text/html", false},
		"schema 1":                    {`{"schemaVersion":1,"fsLayers":[],"history":[]}`, "", false},
		"no schema version":           {strings.Replace(good, `"schemaVersion":2,`, "", 1), "", false},
		"layers twice":                {strings.TrimSuffix(good, "}") + `,"layers":[]}`, "", false},
		"digest and Digest":           {strings.Replace(good, `"size":2`, `"Digest":"sha256:`+strings.Repeat("b", 64)+`","size":2`, 1), "", false},
		"Layers":                      {strings.Replace(good, `"layers"`, `"Layers"`, 1), "", false},
		"long s, which folds to s":    {strings.Replace(good, `"size":2`, `"ſize":9,"size":2`, 1), "", false},
		"bytes after":                 {good + "x", "", false},
		"two documents":               {good + good, "", false},
		"nested deeply":               {strings.TrimSuffix(good, "}") + `,"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}", "", false},
		"no object":                   {`[]`, "", false},
		"null":                        {`null`, "", false},
		"empty":                       {``, "", false},
		"layers null":                 {strings.Replace(good, `[`+layerDesc+`]`, "null", 1), "", false},
		"layers no list":              {strings.Replace(good, `[`+layerDesc+`]`, "{}", 1), "", false},
		"artifact":                    {strings.Replace(good, "image.config.v1", "empty.v1", 1), "", false},
		"helm chart's layer":          {strings.Replace(good, "image.layer.v1.tar+gzip", "x", 1), "", false},
		"more layers than one allows": {strings.Replace(good, layerDesc, strings.Repeat(layerDesc+",", maxLayers)+layerDesc, 1), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseDocument([]byte(tc.doc), tc.contentType)
			if tc.ok != (err == nil) || (err != nil && !errors.Is(err, ErrManifest)) {
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
		if _, err := c.Fetch(t.Context(), ref, Options{KeepBlobs: true}); err != nil {
			t.Fatal(err)
		}
		img, err := c.Store.Get(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		nest(t, c, dir, img.ID.String(), depth)
		_, err = newClient(t).Fetch(t.Context(), mustRef(t, "oci:"+dir), Options{})
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
			if !errors.Is(err, ErrPlatform) {
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
	f.Add([]byte(`{"schemaVersion":2,"config":`+configDesc+`,"layers":[`+layerDesc+`]}`), "")
	f.Add([]byte(`{"schemaVersion":2,"manifests":[`+imageDesc+`]}`), ocispec.MediaTypeImageIndex)
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
