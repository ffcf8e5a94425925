package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// suffix is of the tag, by compression.
var suffix = map[string]string{"gzip": ":1", "zstd": ":1-zstd"}

// fetchLarge measures a large image on a new disk: its fetch, that of another with nine of its ten layers, the removal of both.
func (b *bench) fetchLarge(ctx context.Context, compression string) ([]row, error) {
	blobs, size, err := b.largeBlobs(compression)
	if err != nil {
		return nil, err
	}
	tag := suffix[compression]
	first, second := "large"+tag, "large2"+tag
	unpack := map[string]string{"gzip": "pigz", "zstd": "zstd"}[compression] + " -dc"
	floor, tar := "floor: "+unpack+" of all layers", "floor: "+unpack+" \\| tar x, two at a time"
	contenders := []contender{
		b.gantryFetch(first, second), b.podmanFetch(first, second), b.containerdFetch(first, second),
		b.floorUnpack(floor, unpack, blobs), b.floorTar(tar, unpack, blobs),
	}
	limits := []limit{ratio("podman", 0.4), ratio(floor, 0.8)}
	if compression == "gzip" {
		contenders = append(contenders, b.umociFetch(first)) // umoci knows no zstd
	} else {
		limits[1] = ratio(floor, 1.8)
	}
	b.peaks = map[string]int64{}
	t, err := loop(ctx, 0, 3, contenders...)
	if err != nil {
		return nil, err
	}
	peaks := row{name: "peak memory of that fetch, RSS of one process", unit: "MB", limits: []limit{atMost(64)}, rounds: t.rounds}
	for _, who := range []string{"gantry", "podman"} {
		peaks.lines = append(peaks.lines, line{who, float64(b.peaks[who]) / 1024})
	}
	rows := []row{
		t.into(row{name: "fetch of " + size + ", loopback registry", unit: "s", limits: limits}, 0),
		peaks,
		t.into(row{name: "fetch of a second image that shares nine of its ten layers, " + compression, unit: "ms"}, 1),
	}
	if compression == "gzip" {
		rows = append(rows, t.into(row{name: "image rm + gc of both", unit: "ms", limits: []limit{atMost(50)}}, 2))
	}
	return rows, nil
}

// fetchSmall measures an image of 1 MB.
func (b *bench) fetchSmall(ctx context.Context) ([]row, error) {
	urls := fmt.Sprintf(`m=$(curl -sf -H 'Accept: application/vnd.oci.image.manifest.v1+json' http://%[1]s/v2/busybox/manifests/1)
		curl -sf $(echo "$m" | grep -o 'sha256:[0-9a-f]*' | sed 's|.*|-o /dev/null http://%[1]s/v2/busybox/blobs/&|')`, b.registry.Addr)
	t, err := loop(ctx, 1, max(3, b.rounds/2),
		b.emptyDir(contender{name: "gantry", run: b.gantryPull("busybox:1")}),
		b.emptyDir(contender{name: "podman", run: b.podmanPull("busybox:1")}),
		contender{name: "curl, to nowhere", run: func(ctx context.Context) error { return command(ctx, "sh", "-ec", urls) }})
	return []row{t.into(row{name: "fetch of 1 MB, 1 layer", unit: "ms", limits: []limit{atMost(80)}}, 0)}, err
}

// fetchFiles measures images of many small files.
func (b *bench) fetchFiles(ctx context.Context) ([]row, error) {
	var rows []row
	for _, n := range []string{"1", "8", "25"} {
		image := "files" + n + "k:1"
		t, err := loop(ctx, 0, 2,
			b.gantryFetch(image), b.podmanFetch(image), b.containerdFetch(image), b.umociFetch(image))
		if err != nil {
			return nil, err
		}
		rows = append(rows, t.into(row{name: "fetch of " + n + " thousand files of 2 kB, 1 layer", unit: "ms"}, 0))
	}
	return rows, nil
}

func (b *bench) onDisk(dir string) string { return filepath.Join(b.work, "disk", dir) }

func (b *bench) gantryPull(image string) func(context.Context) error {
	return func(ctx context.Context) error {
		return b.peak(ctx, "gantry", b.gantryArgs(b.onDisk("gantry"), "fetch", b.registry.Addr+"/"+image)...)
	}
}

func (b *bench) gantryFetch(images ...string) contender {
	c := contender{name: "gantry", run: b.gantryPull(images[0])}
	if len(images) > 1 {
		c.then = append(c.then, b.gantryPull(images[1]), func(ctx context.Context) error {
			rm := b.gantryArgs(b.onDisk("gantry"), "image", "rm", b.registry.Addr+"/"+images[0], b.registry.Addr+"/"+images[1])
			if err := command(ctx, rm...); err != nil {
				return err
			}
			return command(ctx, b.gantryArgs(b.onDisk("gantry"), "gc", "--grace-period=0s")...)
		})
	}
	return b.freshDisk(c)
}

func (b *bench) podmanPull(image string) func(context.Context) error {
	return func(ctx context.Context) error {
		return b.peak(ctx, "podman", b.podmanArgs(b.onDisk("podman"), "pull", "-q", "--tls-verify=false", b.registry.Addr+"/"+image)...)
	}
}

func (b *bench) podmanFetch(images ...string) contender {
	c := contender{name: "podman", run: b.podmanPull(images[0])}
	if len(images) > 1 {
		c.then = append(c.then, b.podmanPull(images[1]), func(ctx context.Context) error {
			return command(ctx, b.podmanArgs(b.onDisk("podman"), "rmi", "-f", b.registry.Addr+"/"+images[0], b.registry.Addr+"/"+images[1])...)
		})
	}
	return b.freshDisk(c)
}

// umociFetch copies the image into a layout with skopeo and unpacks it with umoci.
func (b *bench) umociFetch(image string) contender {
	return b.freshDisk(contender{name: "skopeo + umoci", run: func(ctx context.Context) error {
		layout := b.onDisk("layout") + ":image"
		if err := command(ctx, "skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", "docker://"+b.registry.Addr+"/"+image, "oci:"+layout); err != nil {
			return err
		}
		return command(ctx, "umoci", "unpack", "--image", layout, b.onDisk("bundle"))
	}})
}

// floorUnpack decompresses local files, one after the other, to nowhere.
func (b *bench) floorUnpack(name, unpack string, blobs []string) contender {
	return contender{name: name, run: func(ctx context.Context) error {
		return command(ctx, append([]string{"sh", "-ec", fmt.Sprintf(`for f; do %s "$f" >/dev/null; done`, unpack), "sh"}, blobs...)...)
	}}
}

// floorTar is what unpacking alone costs: local files, two layers at a time, no network, no verification, no store.
func (b *bench) floorTar(name, unpack string, blobs []string) contender {
	return b.freshDisk(contender{name: name, run: func(ctx context.Context) error {
		const script = `d=$1/$(basename $2); mkdir $d; %s $2 | tar -x -C $d`
		return command(ctx, "sh", "-c", fmt.Sprintf("printf '%%s\\n' %s | xargs -P 2 -I{} sh -c '%s' unpack %s {}",
			strings.Join(blobs, " "), fmt.Sprintf(script, unpack), b.onDisk("")))
	}})
}

// emptyDir gives a contender an empty directory in place of a disk.
func (b *bench) emptyDir(c contender) contender {
	dir := filepath.Join(b.work, "disk")
	empty := func(ctx context.Context) error {
		// podman leaves its own directory mounted on itself
		return command(ctx, "sh", "-c", `umount "$1"/podman/overlay 2>/dev/null; rm -rf "$1"; mkdir "$1"`, "sh", dir)
	}
	c.before, c.after = func(context.Context) error { return os.MkdirAll(dir, 0o755) }, empty
	return c
}
