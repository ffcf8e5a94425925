package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// freshDisk gives a contender a new ext4, on a loop device: files are made slower after a mass delete.
func (b *bench) freshDisk(c contender) contender {
	image, dir := filepath.Join(b.work, "disk.img"), filepath.Join(b.work, "disk")
	inner := c
	c.before = func(ctx context.Context) error {
		_ = os.Remove(image)
		for _, args := range [][]string{
			{"truncate", "-s", "6G", image}, {"mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1", image},
			{"mount", "-o", "loop", image, dir},
		} {
			if err := command(ctx, args...); err != nil {
				return err
			}
		}
		unix.Sync()
		if inner.before != nil {
			return inner.before(ctx)
		}
		return nil
	}
	c.after = func(ctx context.Context) error {
		if inner.after != nil {
			if err := inner.after(ctx); err != nil {
				return err
			}
		}
		// podman leaves its own directory mounted on itself
		for i := 0; i < 4 && unix.Unmount(filepath.Join(dir, "podman/overlay"), 0) == nil; i++ {
		}
		if err := command(ctx, "umount", dir); err != nil {
			return err
		}
		return os.Remove(image)
	}
	return c
}

// large is the image of the fetch case, from its layout.
func (b *bench) large(tag string) (v1.Image, error) {
	path, err := layout.FromPath(filepath.Join(b.cache, "oci/large"))
	if err != nil {
		return nil, err
	}
	index, err := path.ImageIndex()
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range manifest.Manifests {
		if d.Annotations["org.opencontainers.image.ref.name"] == tag {
			return path.Image(d.Digest)
		}
	}
	return nil, fmt.Errorf("no tag %s in %s", tag, path)
}

// largeBlobs are the files of the large image's layers, and how large it is, in words.
func (b *bench) largeBlobs(compression string) (files []string, size string, err error) {
	img, err := b.large(suffix[compression][1:])
	if err != nil {
		return nil, "", err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return nil, "", err
	}
	var packed, unpacked int64
	for _, l := range manifest.Layers {
		packed += l.Size
		files = append(files, filepath.Join(b.cache, "oci/large/blobs/sha256", l.Digest.Hex))
	}
	// Both tags hold the same tars; the library unpacks gzip.
	if img, err = b.large("1"); err != nil {
		return nil, "", err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, "", err
	}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			return nil, "", err
		}
		n, err := discard(r)
		if err != nil {
			return nil, "", err
		}
		unpacked += n
	}
	return files, fmt.Sprintf("%d layers, %d MB of tar, %d MB %s", len(files), unpacked/1e6, packed/1e6, compression), nil
}
