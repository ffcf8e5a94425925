package craft

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Object is JSON that need not make sense.
type Object = map[string]any

// Layer is a blob, and what manifest and config say of it.
type Layer struct {
	Blob      []byte
	MediaType string
	DiffID    string
}

// Plain, Gzipped and Zstded are honest layers of a tar.
func Plain(tar []byte) Layer {
	return Layer{tar, ocispec.MediaTypeImageLayer, digest.FromBytes(tar).String()}
}

// Gzipped is a layer as most are.
func Gzipped(tar []byte) Layer {
	return Layer{Gzip(tar), ocispec.MediaTypeImageLayerGzip, digest.FromBytes(tar).String()}
}

// Zstded is a layer in zstd.
func Zstded(tar []byte) Layer {
	w, err := zstd.NewWriter(nil)
	must(err)
	return Layer{w.EncodeAll(tar, nil), ocispec.MediaTypeImageLayerZstd, digest.FromBytes(tar).String()}
}

// Gzip compresses.
func Gzip(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	must(err)
	must(w.Close())
	return b.Bytes()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Image is one in all its parts, each of which can be changed by itself.
type Image struct {
	Manifest []byte
	Config   []byte
	Blobs    map[string][]byte // by digest, the config too
}

// NewImage makes an honest image for linux/amd64 of layers, the lowest first; run is the config's part of that name.
func NewImage(run Object, layers ...Layer) *Image {
	img := &Image{Blobs: map[string][]byte{}}
	ids, descs := []any{}, []any{}
	for _, l := range layers {
		d := digest.FromBytes(l.Blob).String()
		img.Blobs[d] = l.Blob
		ids = append(ids, l.DiffID)
		descs = append(descs, Object{"mediaType": l.MediaType, "digest": d, "size": len(l.Blob)})
	}
	config := Object{"architecture": "amd64", "os": "linux", "rootfs": Object{"type": "layers", "diff_ids": ids}}
	if run != nil {
		config["config"] = run
	}
	manifest := Object{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "layers": descs}
	img.Manifest = JSON(manifest)
	return img.WithConfig(JSON(config))
}

// JSON encodes.
func JSON(v any) []byte {
	data, err := json.Marshal(v)
	must(err)
	return data
}

// Describe is the descriptor of data.
func Describe(mediaType string, data []byte) Object {
	return Object{"mediaType": mediaType, "digest": digest.FromBytes(data).String(), "size": len(data)}
}

// WithConfig gives the image other bytes for a config; the manifest's descriptor follows.
func (i *Image) WithConfig(config []byte) *Image {
	c := i.clone()
	c.Config = config
	c.Blobs[digest.FromBytes(config).String()] = config
	return c.WithManifest(func(m Object) { m["config"] = Describe(ocispec.MediaTypeImageConfig, config) })
}

// ChangeConfig changes fields of the config.
func (i *Image) ChangeConfig(change func(Object)) *Image {
	var config Object
	must(json.Unmarshal(i.Config, &config))
	change(config)
	return i.WithConfig(JSON(config))
}

// WithManifest changes fields of the manifest.
func (i *Image) WithManifest(change func(Object)) *Image {
	c := i.clone()
	var m Object
	dec := json.NewDecoder(bytes.NewReader(c.Manifest))
	dec.UseNumber()
	must(dec.Decode(&m))
	change(m)
	c.Manifest = JSON(m)
	return c
}

// LayerField changes a field of the first layer's descriptor.
func (i *Image) LayerField(key string, value any) *Image {
	return i.WithManifest(func(m Object) { m["layers"].([]any)[0].(Object)[key] = value })
}

// ConfigField changes a field of the config's descriptor.
func (i *Image) ConfigField(key string, value any) *Image {
	return i.WithManifest(func(m Object) { m["config"].(Object)[key] = value })
}

func (i *Image) clone() *Image {
	c := *i
	c.Blobs = maps.Clone(i.Blobs)
	return &c
}

// Digest of the manifest.
func (i *Image) Digest() string { return digest.FromBytes(i.Manifest).String() }

// Index is an index over documents, all called media type and offered for linux/amd64.
func Index(mediaType string, documents ...[]byte) []byte {
	var list []any
	for _, d := range documents {
		desc := Describe(mediaType, d)
		desc["platform"] = Object{"os": "linux", "architecture": "amd64"}
		list = append(list, desc)
	}
	return JSON(Object{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": list})
}

// Layout is the image as an OCI archive that calls it name.
func (i *Image) Layout(name string) []byte {
	desc := Describe(ocispec.MediaTypeImageManifest, i.Manifest)
	desc["annotations"] = Object{ocispec.AnnotationRefName: name, "io.containerd.image.name": name}
	entries := []Entry{
		File(ocispec.ImageLayoutFile, `{"imageLayoutVersion":"1.0.0"}`),
		File(ocispec.ImageIndexFile, string(JSON(Object{"schemaVersion": 2, "manifests": []any{desc}}))),
		File("blobs/sha256/"+digest.FromBytes(i.Manifest).Encoded(), string(i.Manifest)),
	}
	for _, d := range slices.Sorted(maps.Keys(i.Blobs)) {
		entries = append(entries, File("blobs/sha256/"+digest.Digest(d).Encoded(), string(i.Blobs[d])))
	}
	return Archive(entries...)
}
