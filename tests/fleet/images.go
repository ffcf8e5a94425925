package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gantryrun/gantry/tests/ociimage"
)

// pushImages builds what the pods are made of, signs it, and pushes it: five images, three releases of the app (the third is
// sick), and one that is only fetched.
func (l *lab) pushImages(ctx context.Context) error {
	side, err := l.sidecar(ctx)
	if err != nil {
		return err
	}
	proxy, err := haproxyLayer()
	if err != nil {
		return err
	}
	env := []string{"PATH=/usr/sbin:/bin"}
	for _, i := range []struct {
		name, repository string
		config           v1.Config
		layer            v1.Layer
	}{
		{"route", "side/route", v1.Config{Entrypoint: []string{"/bin/sidecar", "route"}}, side},
		{"haproxy", "side/haproxy", v1.Config{Entrypoint: []string{"/usr/sbin/haproxy", "-db", "-f", "/shared/haproxy.cfg"}}, proxy},
		{"export", "side/export", v1.Config{Entrypoint: []string{"/bin/sidecar", "export"}, User: "1000"}, side},
		{"announce", "side/announce", v1.Config{Entrypoint: []string{"/bin/sidecar", "announce"}, User: "1000"}, side},
		{"app1", "web", v1.Config{Entrypoint: []string{"/bin/sidecar", "web"}, Env: []string{"RELEASE=1"}}, side},
		{"app2", "web", v1.Config{Entrypoint: []string{"/bin/sidecar", "web"}, Env: []string{"RELEASE=2"}}, side},
		{"sick", "web", v1.Config{Entrypoint: []string{"/bin/sidecar", "web"}, Env: []string{"RELEASE=3", "SICK=yes"}}, side},
	} {
		i.config.Env = append(i.config.Env, env...)
		img, err := ociimage.Image(i.config, i.layer)
		if err != nil {
			return err
		}
		if l.images[i.name], err = l.registry.push(i.repository, img); err != nil {
			return fmt.Errorf("push %s: %w", i.name, err)
		}
	}
	return nil
}

// etc are the few files that programs look for.
func etc() []ociimage.Entry {
	tmp := ociimage.Dir("tmp")
	tmp.Mode = 0o1777
	return []ociimage.Entry{
		ociimage.Dir("etc"), ociimage.Dir("bin"), tmp,
		ociimage.File("etc/passwd", "root:x:0:0:root:/:/bin/false\napp:x:1000:1000:app:/:/bin/false\n"),
		ociimage.File("etc/group", "root:x:0:\napp:x:1000:\n"),
	}
}

// sidecar builds the side-cars' program, and makes its layer.
func (l *lab) sidecar(ctx context.Context) (v1.Layer, error) {
	file := filepath.Join(l.work, "sidecar")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "./tests/fleet/sidecar")
	cmd.Dir = l.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build sidecar: %w: %s", err, out)
	}
	program, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return ociimage.Layer(append(etc(), ociimage.Exec("bin/sidecar", program))...)
}

// libraries are the files that ldd(1) names.
var libraries = regexp.MustCompile(`(?m)(/\S+) \(0x`)

// haproxyLayer packs Debian's HAProxy with the libraries that it is linked with.
func haproxyLayer() (v1.Layer, error) {
	const program = "/usr/sbin/haproxy"
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: install Debian's haproxy: %w", program, err)
	}
	entries := etc()
	files := []string{program}
	for _, m := range libraries.FindAllSubmatch(out, -1) {
		files = append(files, string(bytes.TrimSpace(m[1])))
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		entries = append(entries, ociimage.Exec(f[1:], data))
	}
	return ociimage.Layer(entries...)
}

// extra pushes an image of 8 MB that does not compress, for fetches that are killed.
func (l *lab) extra() (string, error) {
	noise := make([]byte, 8<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise) // never fails
	layer, err := ociimage.Layer(ociimage.File("noise", string(noise)))
	if err != nil {
		return "", err
	}
	img, err := ociimage.Image(v1.Config{Cmd: []string{"/noise"}}, layer)
	if err != nil {
		return "", err
	}
	return l.registry.push("extra", img)
}
