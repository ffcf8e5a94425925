package image

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// annotationOriginal names the manifest that an exported image had when it was fetched: its layers are compressed
// anew, so it has another digest now.
const annotationOriginal = "run.gantry.original-manifest"

// Export writes an image as an OCI archive (image-spec, image-layout.md, in a tar). Where the compressed layers were
// kept, manifest and layers are, byte for byte, those that were fetched; else layers are compressed anew, by gzip.
func (s *Store) Export(ctx context.Context, img *Image, w io.Writer, gzip func(io.Writer) io.WriteCloser) error {
	e := &exporter{Store: s, img: img, tar: tar.NewWriter(w), gzip: gzip}
	err := e.export(ctx)
	if err == nil {
		err = e.tar.Close()
	}
	if err != nil {
		return fmt.Errorf("export image %s: %w", img.ID, err)
	}
	return nil
}

type exporter struct {
	*Store
	img  *Image
	tar  *tar.Writer
	gzip func(io.Writer) io.WriteCloser
	done map[digest.Digest]bool
}

func (e *exporter) export(ctx context.Context) error {
	layout, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	if err := e.file(ocispec.ImageLayoutFile, layout); err != nil {
		return err
	}
	config, err := e.Blob(e.img.Manifest.Config.Digest)
	if err != nil {
		return err
	}
	if err := e.document(e.img.Manifest.Config.Digest, config); err != nil {
		return err
	}
	manifest, mediaType, err := e.layers(ctx)
	if err != nil {
		return err
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}
	if err := e.document(desc.Digest, manifest); err != nil {
		return err
	}
	desc.Annotations = e.names()
	desc.Platform = &e.img.Config.Platform
	index, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{desc},
	})
	if err != nil {
		return err
	}
	return e.file(ocispec.ImageIndexFile, index)
}

// names that a reader of the archive may want to give the image again.
func (e *exporter) names() map[string]string {
	ref, err := ParseRef(e.img.Name())
	if err != nil || ref.Kind != Registry || ref.Tag == "" {
		return nil
	}
	return map[string]string{ocispec.AnnotationRefName: ref.String(), "io.containerd.image.name": ref.String()}
}

// layers writes the layers and returns the manifest over them.
func (e *exporter) layers(ctx context.Context) (manifest []byte, mediaType string, err error) {
	kept, err := e.allKept()
	if err != nil {
		return nil, "", err
	}
	if kept {
		for _, l := range e.img.Manifest.Layers {
			if err := errors.Join(ctx.Err(), e.blob(l.Digest, e.blobPath(l.Digest))); err != nil {
				return nil, "", err
			}
		}
		manifest, err := e.Blob(e.img.ID)
		return manifest, e.mediaType(), err
	}
	m := e.img.Manifest
	m.MediaType, m.Config.MediaType = ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig
	m.Annotations = map[string]string{annotationOriginal: e.img.ID.String()}
	for k, v := range e.img.Manifest.Annotations {
		m.Annotations[k] = v
	}
	m.Layers = nil
	for _, d := range e.img.DiffIDs {
		desc, err := e.compress(ctx, d)
		if err != nil {
			return nil, "", fmt.Errorf("layer %s: %w", d, err)
		}
		m.Layers = append(m.Layers, desc)
	}
	manifest, err = json.Marshal(m)
	return manifest, m.MediaType, err
}

func (e *exporter) mediaType() string {
	if e.img.Manifest.MediaType != "" {
		return e.img.Manifest.MediaType
	}
	return ocispec.MediaTypeImageManifest
}

func (e *exporter) allKept() (bool, error) {
	for _, l := range e.img.Manifest.Layers {
		if kept, err := e.HasBlob(l.Digest); err != nil || !kept {
			return false, err
		}
	}
	return true, nil
}

// compress makes a gzip of a layer, in a file without a name since a tar wants to know sizes first, and writes it.
func (e *exporter) compress(ctx context.Context, d digest.Digest) (ocispec.Descriptor, error) {
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip}
	plain, err := os.Open(filepath.Join(e.layerDir(d), "tar"))
	if err != nil {
		return desc, err
	}
	defer plain.Close()
	temp, err := e.Scratch()
	if err != nil {
		return desc, err
	}
	defer temp.Close()
	hash, diff := sha256.New(), sha256.New()
	zw := e.gzip(io.MultiWriter(temp, hash))
	_, err = io.Copy(io.MultiWriter(zw, diff), contextReader{ctx, plain})
	if err = errors.Join(err, zw.Close()); err != nil {
		return desc, err
	}
	if got := digest.NewDigest(digest.SHA256, diff); got != d {
		return desc, fmt.Errorf("%w: digest is %s", ErrCorrupt, got)
	}
	desc.Digest = digest.NewDigest(digest.SHA256, hash)
	if desc.Size, err = temp.Seek(0, io.SeekEnd); err != nil {
		return desc, err
	}
	return desc, e.content(desc.Digest, io.NewSectionReader(temp, 0, desc.Size), desc.Size)
}

// blob writes a stored blob, as it is; who reads the archive verifies it.
func (e *exporter) blob(d digest.Digest, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return e.content(d, f, info.Size())
}

func (e *exporter) document(d digest.Digest, data []byte) error {
	return e.file("blobs/sha256/"+d.Encoded(), data)
}

func (e *exporter) file(name string, data []byte) error {
	if err := e.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := e.tar.Write(data)
	return err
}

// content writes a blob once, however many layers it is.
func (e *exporter) content(d digest.Digest, r io.Reader, size int64) error {
	if e.done[d] {
		return nil
	}
	if e.done == nil {
		e.done = map[digest.Digest]bool{}
	}
	e.done[d] = true
	h := &tar.Header{Name: "blobs/sha256/" + d.Encoded(), Mode: 0o644, Size: size, Typeflag: tar.TypeReg}
	if err := e.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(e.tar, r)
	return err
}

// contextReader ends when ctx does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
