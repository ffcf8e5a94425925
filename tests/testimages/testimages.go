// Package testimages serves the real images that `make test-images` built, from a real registry (Debian's
// docker-registry) on 127.0.0.1, plain or with TLS.
//
// It knows where the cache of images is and how that registry is started, and ends it by its PID. It never
// builds an image: a test whose image is missing is skipped and says what to run.
package testimages

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Cache is the directory of built images: $GANTRY_TEST_IMAGES, or images below the user's cache directory.
func Cache() string {
	if dir := os.Getenv("GANTRY_TEST_IMAGES"); dir != "" {
		return dir
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = "/var/cache"
	}
	return filepath.Join(cache, "gantry", "images")
}

// Layout returns the OCI layout of an image, whose tags are "1" (gzip) and "1-zstd"; the test is skipped where
// the image has not been built.
func Layout(t testing.TB, image string) string {
	t.Helper()
	dir := filepath.Join(Cache(), "oci", image)
	if _, err := os.Stat(dir + ".recipe"); err != nil {
		t.Skipf("skipped: image %s is not built: run make test-images", image)
	}
	return dir
}

// Serve starts a read-only registry that has the images, ends it with the test, and returns its host:port.
func Serve(t testing.TB, images ...string) string {
	t.Helper()
	for _, i := range images {
		Layout(t, i)
	}
	reg, err := Start(t.Context(), Options{Storage: filepath.Join(Cache(), "registry"), ReadOnly: true})
	if errors.Is(err, ErrNoRegistry) {
		t.Skipf("skipped: %v", err)
	}
	if err != nil {
		t.Fatalf("start registry: %v", err)
	}
	t.Cleanup(reg.Close)
	return reg.Addr
}

// Push puts an image into the storage of the cache's registry, through a registry started for it alone.
func Push(ctx context.Context, cache, ref string, img v1.Image) error {
	reg, err := Start(ctx, Options{Storage: filepath.Join(cache, "registry")})
	if err != nil {
		return err
	}
	defer reg.Close()
	tag, err := name.NewTag(reg.Addr+"/"+ref, name.Insecure)
	if err != nil {
		return err
	}
	if err := remote.Write(tag, img, remote.WithContext(ctx), remote.WithJobs(2)); err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	return nil
}
