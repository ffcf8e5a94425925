package craft

import (
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	someHex    = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	configDesc = `{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:` + someHex + `","size":2}`
	layerDesc  = `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:` + someHex + `","size":2}`
	imageDesc  = `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + someHex + `","size":2}`
)

// Document is what a registry may answer where a manifest is asked for.
type Document struct {
	Name              string
	Text, ContentType string
	// OK: it can be read in one way only.
	OK bool
}

const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	tooManyLayers  = 1001
)

// Documents are manifests and indexes, good ones and such as two readers would take for two things.
func Documents() []Document {
	good := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":` + configDesc + `,"layers":[` + layerDesc + `]}`
	return []Document{
		{"manifest", good, ocispec.MediaTypeImageManifest, true},
		{"manifest, type unknown", good, "", true},
		{"manifest, charset", good, ocispec.MediaTypeImageManifest + "; charset=utf-8", true},
		{"manifest called JSON", good, "application/json", true},
		{"no media type of its own", strings.Replace(good, `"mediaType":"application/vnd.oci.image.manifest.v1+json",`, "", 1), dockerManifest, true},
		{"index", `{"schemaVersion":2,"manifests":[` + imageDesc + `]}`, ocispec.MediaTypeImageIndex, true},
		{"empty index", `{"schemaVersion":2,"manifests":[]}`, dockerList, true},
		{"labels in other cases", strings.Replace(good, `"schemaVersion"`, `"annotations":{"Size":"1","size":"2"},"schemaVersion"`, 1), "", true},
		{"both", strings.TrimSuffix(good, "}") + `,"manifests":[` + imageDesc + `]}`, "", false},
		{"both, empty", strings.TrimSuffix(good, "}") + `,"manifests":[]}`, "", false},
		{"index with config", `{"schemaVersion":2,"manifests":[],"config":` + configDesc + `}`, "", false},
		{"manifest served as index", good, ocispec.MediaTypeImageIndex, false},
		{"index served as manifest", `{"schemaVersion":2,"manifests":[]}`, ocispec.MediaTypeImageManifest, false},
		{"served as Docker's", good, dockerManifest, false},
		{"calls itself index", strings.Replace(good, "image.manifest", "image.index", 1), "", false},
		{"unknown type", good, "application/vnd.example+json", false},
		{"HTML", "<html>", "text/html", false},
		{"schema 1", `{"schemaVersion":1,"fsLayers":[],"history":[]}`, "", false},
		{"no schema version", strings.Replace(good, `"schemaVersion":2,`, "", 1), "", false},
		{"layers twice", strings.TrimSuffix(good, "}") + `,"layers":[]}`, "", false},
		{"digest and Digest", strings.Replace(good, `"size":2`, `"Digest":"sha256:`+strings.Repeat("b", 64)+`","size":2`, 1), "", false},
		{"Layers", strings.Replace(good, `"layers"`, `"Layers"`, 1), "", false},
		{"long s, which folds to s", strings.Replace(good, `"size":2`, `"ſize":9,"size":2`, 1), "", false},
		{"bytes after", good + "x", "", false},
		{"two documents", good + good, "", false},
		{"nested deeply", strings.TrimSuffix(good, "}") + `,"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}", "", false},
		{"no object", `[]`, "", false},
		{"null", `null`, "", false},
		{"empty", ``, "", false},
		{"layers null", strings.Replace(good, `[`+layerDesc+`]`, "null", 1), "", false},
		{"layers no list", strings.Replace(good, `[`+layerDesc+`]`, "{}", 1), "", false},
		{"artifact", strings.Replace(good, "image.config.v1", "empty.v1", 1), "", false},
		{"helm chart's layer", strings.Replace(good, "image.layer.v1.tar+gzip", "x", 1), "", false},
		{"more layers than one allows", strings.Replace(good, layerDesc, strings.Repeat(layerDesc+",", tooManyLayers-1)+layerDesc, 1), "", false},
	}
}
