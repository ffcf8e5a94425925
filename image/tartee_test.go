package image

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestStoredTar: what is stored is the layer, byte for byte, wherever it ends and wherever blocks end.
func TestStoredTar(t *testing.T) {
	random := make([]byte, 3*blockSize)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	for _, backend := range []Backend{Erofs, Dir} {
		s := newStore(t, backend)
		for _, size := range []int{0, 1, 511, blockSize - 1536, blockSize - 1535, blockSize, 2*blockSize - 1536, 3*blockSize - 7} {
			whole := tarOf(t, "file", string(random[:size]))
			data := bytes.TrimRight(whole, "\x00") // the end, and padding, may be missing
			if size == 0 {
				data = whole
			}
			for _, tar := range [][]byte{whole, data} {
				id := addLayer(t, s, tar)
				stored, err := os.ReadFile(filepath.Join(s.layerDir(id), "tar"))
				if err != nil || !bytes.Equal(stored, tar) {
					t.Errorf("%s: %d bytes stored of %d, or others; %v", backend, len(stored), len(tar), err)
				}
			}
		}
	}
}

// TestDropCache: a store whose images are mounted with directio does not fill the page cache with what nobody reads there.
func TestDropCache(t *testing.T) {
	s := newStore(t, Erofs)
	id := addLayer(t, s, tarOf(t, "file", string(make([]byte, 8*blockSize))))
	path := filepath.Join(s.layerDir(id), "tar")
	if !takesDirectIO([]string{path}) {
		t.Skip("the file system of the test's directory cannot be read past its page cache, in blocks of 512 bytes")
	}
	if cached := residentPages(t, path); cached > 0 {
		t.Errorf("%d pages of the tar are in the page cache", cached)
	}
}

func residentPages(t *testing.T, path string) (n int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var stat unix.Cachestat_t
	if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Len: uint64(info.Size())}, &stat, 0); err != nil { // Linux 6.5
		t.Skipf("cachestat: %v", err)
	}
	return int(stat.Cache)
}
