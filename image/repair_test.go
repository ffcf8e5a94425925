package image

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// backup is an origin of layers, by diffID.
type backup map[digest.Digest][]byte

func (b backup) Document(context.Context, digest.Digest) ([]byte, error) { return nil, fs.ErrNotExist }

func (b backup) Layer(_ context.Context, desc ocispec.Descriptor, take func(io.Reader) error) error {
	_ = take(strings.NewReader("not it, and must not come in"))
	return take(bytes.NewReader(b[desc.Digest]))
}

func (b backup) Blob(context.Context, ocispec.Descriptor, func(io.Reader) error) error {
	return fs.ErrNotExist
}

// TestRepairMounted: images with a layer that is replaced are mounted anew, where mounts propagate too, and whoever
// stands on the old mount keeps it.
func TestRepairMounted(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	for _, how := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} { // shared with nobody outside
		if err := unix.Mount("", "/", "", unix.MS_REC|how, ""); err != nil {
			t.Fatal(err)
		}
	}
	s := newStore(t, Erofs)
	needErofs(t, s.dir)
	shared := tarOf(t, "a", strings.Repeat("a", 50_000))
	first := addImage(t, s, "docker.io/library/first:latest", shared)
	second := addImage(t, s, "docker.io/library/second:latest", shared, tarOf(t, "b", "b"))
	var points []string
	for _, img := range []*Image{first, second} {
		lower, err := s.Lower(t.Context(), img)
		if err != nil {
			t.Fatal(err)
		}
		points = append(points, lower[0])
	}
	standing, err := os.Open(filepath.Join(points[1], "b")) // a mount that is busy
	if err != nil {
		t.Fatal(err)
	}
	defer standing.Close()
	flip(t, filepath.Join(s.layerDir(first.DiffIDs[0]), "tar"))
	problems, err := s.Verify(t.Context(), first)
	if err != nil || len(problems) != 1 || problems[0].Part != PartLayer {
		t.Fatalf("%v, %v", problems, err)
	}
	if err := s.Repair(t.Context(), first, problems, backup{}); err == nil {
		t.Error("repaired from nothing")
	}
	err = s.Repair(t.Context(), first, problems, backup{first.DiffIDs[0]: shared})
	if err != nil {
		t.Fatal(err)
	}
	for _, point := range points {
		if data, err := os.ReadFile(filepath.Join(point, "a")); err != nil || strings.Trim(string(data), "a") != "" || len(data) != 50_000 {
			t.Errorf("%s: %d bytes, %v", point, len(data), err)
		}
	}
	if mounts := mountsBelow(t, s.mountsDir()); len(mounts) != len(points) {
		t.Errorf("mounts: %q", mounts)
	}
	if data, err := io.ReadAll(standing); err != nil || string(data) != "b" {
		t.Errorf("standing on the old mount: %q, %v", data, err)
	}
	if left, err := filepath.Glob(s.dir + "/*/.[nt]*"); len(left) > 0 || err != nil {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
