package ociimage

import (
	"archive/tar"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image makes an image for linux/amd64 from its run configuration and its layers, lowest first.
func Image(config v1.Config, layers ...v1.Layer) (v1.Image, error) {
	return ImageFor(v1.Platform{OS: "linux", Architecture: "amd64"}, config, layers...)
}

// ImageFor makes an image for a platform.
func ImageFor(p v1.Platform, config v1.Config, layers ...v1.Layer) (v1.Image, error) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	img, err := mutate.ConfigFile(img, &v1.ConfigFile{
		OS: p.OS, Architecture: p.Architecture, Variant: p.Variant,
		Created: v1.Time{Time: Epoch}, Config: config,
		RootFS: v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		mt, err := l.MediaType()
		if err != nil {
			return nil, err
		}
		img, err = mutate.Append(img, mutate.Addendum{Layer: l, MediaType: mt, History: v1.History{Created: v1.Time{Time: Epoch}}})
		if err != nil {
			return nil, err
		}
	}
	return img, nil
}

// Busybox makes the layer of a small user land from the machine's static busybox: the program, a link for each
// of its applets, and the few files and directories that programs expect.
func Busybox() (v1.Layer, error) {
	entries, err := BusyboxEntries()
	if err != nil {
		return nil, err
	}
	return Layer(entries...)
}

// ErrNoBusybox says that the machine has no static busybox (Debian's busybox-static).
var ErrNoBusybox = errors.New("no static busybox on this machine: install busybox-static")

// BusyboxEntries are the entries of Busybox's layer.
func BusyboxEntries() ([]Entry, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, ErrNoBusybox
	}
	if f, err := elf.Open(path); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	} else {
		libs, err := f.ImportedLibraries()
		f.Close()
		if err != nil || len(libs) > 0 {
			return nil, ErrNoBusybox
		}
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	applets, err := exec.Command(path, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list applets: %w", err)
	}
	tmp := Dir("tmp")
	tmp.Mode = 0o1777
	entries := []Entry{
		Dir("bin"), Dir("etc"), Dir("home"), Dir("root"), Dir("var"), tmp,
		File("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
		File("etc/group", "root:x:0:\napp:x:1000:\naudio:x:29:app\nnogroup:x:65534:\n"),
		Exec("bin/busybox", program),
	}
	for _, a := range strings.Fields(string(applets)) {
		if a != "busybox" {
			entries = append(entries, Link("bin/"+a, "busybox"))
		}
	}
	return entries, nil
}

// WriteArchive writes img as an OCI archive (a tar of an OCI layout) whose one manifest is named tag.
func WriteArchive(file string, img v1.Image, tag string) error {
	dir, err := os.MkdirTemp("", "oci-layout-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := WriteLayout(dir, img, tag); err != nil {
		return err
	}
	out, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	return errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), out.Close())
}

// WriteLayout writes img into an OCI layout, under the name tag, beside what is there already.
func WriteLayout(dir string, img v1.Image, tag string) error {
	path, err := layout.FromPath(dir)
	if err != nil {
		if path, err = layout.Write(dir, empty.Index); err != nil {
			return err
		}
	}
	return path.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag}))
}
