package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// freshDisk gives a contender a new ext4, on a loop device: files are made slower after a mass delete.
func (b *bench) freshDisk(c contender) contender {
	image, dir := filepath.Join(b.work, "disk.img"), filepath.Join(b.work, "disk")
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
		return nil
	}
	unmount := func(ctx context.Context) error {
		// podman leaves its own directory mounted on itself
		for i := 0; i < 4 && unix.Unmount(filepath.Join(dir, "podman/overlay"), 0) == nil; i++ {
		}
		if err := command(ctx, "umount", dir); err != nil {
			return err
		}
		return os.Remove(image)
	}
	c.after = unmount
	return c
}

func (b *bench) gantryFetch() contender {
	return b.freshDisk(contender{name: "gantry", run: func(ctx context.Context) error {
		return command(ctx, b.gantryArgs(filepath.Join(b.work, "disk/gantry"), "fetch", b.image("large"))...)
	}})
}

func (b *bench) podmanFetch() contender {
	return b.freshDisk(contender{name: "podman", run: func(ctx context.Context) error {
		return command(ctx, b.podmanArgs(filepath.Join(b.work, "disk/podman"), "pull", "-q", "--tls-verify=false", b.image("large"))...)
	}})
}

// floorFetch is what unpacking alone costs: pigz and tar on local files, two layers at a time, no network, no
// verification, no store.
func (b *bench) floorFetch() contender {
	return b.freshDisk(contender{name: "pigz -dc \\| tar x of local files, two at a time", run: func(ctx context.Context) error {
		img, err := b.large()
		if err != nil {
			return err
		}
		manifest, err := img.Manifest()
		if err != nil {
			return err
		}
		var blobs []string
		for _, l := range manifest.Layers {
			blobs = append(blobs, filepath.Join(b.cache, "oci/large/blobs/sha256", l.Digest.Hex))
		}
		const unpack = `d=$1/$(basename $2); mkdir $d; pigz -dc $2 | tar -x -C $d`
		return command(ctx, "sh", "-c", fmt.Sprintf("printf '%%s\\n' %s | xargs -P 2 -I{} sh -c '%s' unpack %s {}",
			strings.Join(blobs, " "), unpack, filepath.Join(b.work, "disk")))
	}})
}

// large is the image of the fetch case, from its layout.
func (b *bench) large() (v1.Image, error) {
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
		if d.Annotations["org.opencontainers.image.ref.name"] == "1" {
			return path.Image(d.Digest)
		}
	}
	return nil, fmt.Errorf("no tag 1 in %s", path)
}

// largeSize says how large the image is.
func (b *bench) largeSize() (string, error) {
	img, err := b.large()
	if err != nil {
		return "", err
	}
	layers, err := img.Layers()
	if err != nil {
		return "", err
	}
	var packed, unpacked int64
	for _, l := range layers {
		size, err := l.Size()
		if err != nil {
			return "", err
		}
		packed += size
		r, err := l.Uncompressed()
		if err != nil {
			return "", err
		}
		n, err := discard(r)
		if err != nil {
			return "", err
		}
		unpacked += n
	}
	return fmt.Sprintf("%d layers, %d MB of tar, %d MB gzip", len(layers), unpacked/1e6, packed/1e6), nil
}
