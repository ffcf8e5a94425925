package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Lower returns the lower directories for an overlay on img, highest first. With EROFS it mounts the image, once per
// host, below RunDir, if nobody has yet; call it in the host's mount namespace. It is idempotent and needs a Hold
// around it and whatever makes GC see the use. It marks the image as used now.
func (s *Store) Lower(ctx context.Context, img *Image) ([]string, error) {
	if err := s.markUsed(img); err != nil {
		return nil, err
	}
	point, err := s.mountPoint(img.ChainID)
	if err != nil {
		return nil, fmt.Errorf("mount image %s: %w", img.ID, err)
	}
	if s.backend != Dir && isErofsMount(point) {
		return []string{point}, nil // the warm path of every run: two system calls
	}
	backend, _, err := s.Backend()
	if err != nil {
		return nil, err
	}
	if err := s.ensureTree(ctx, backend, img.ChainID, img.DiffIDs); err != nil {
		return nil, err
	}
	if backend == Dir {
		return []string{filepath.Join(s.treeDir(img.ChainID), treeFS)}, nil
	}
	if err := s.mountOnce(ctx, point, img); err != nil {
		return nil, fmt.Errorf("mount image %s: %w", img.ID, err)
	}
	return []string{point}, nil
}

// usedEvery is how exact LastUsed is: a journalled write at every run could have to wait for somebody's fsync.
const usedEvery = time.Minute

func (s *Store) markUsed(img *Image) error {
	now := time.Now()
	if since := now.Sub(img.LastUsed); since >= 0 && since < usedEvery {
		return nil
	}
	if err := os.Chtimes(s.recordPath(img.ID), now, now); err != nil {
		return fmt.Errorf("use image %s: %w", img.ID, err)
	}
	return nil
}

// mountPoint of an image: named by the store's real path too, because every store of a host mounts in one place.
func (s *Store) mountPoint(chain digest.Digest) (string, error) {
	real, err := filepath.EvalSymlinks(s.dir)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(real + "\x00" + chain.String()))
	return filepath.Join(s.mountsDir(), hex.EncodeToString(sum[:10])), nil
}

func (s *Store) mountsDir() string { return filepath.Join(s.runDir, "images") }

// mountOnce mounts img unless another process was faster.
func (s *Store) mountOnce(ctx context.Context, point string, img *Image) error {
	unlock, err := s.lockMounts(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.MkdirAll(point, 0o700); err != nil {
		return err
	}
	if isErofsMount(point) {
		return nil
	}
	for _, d := range img.DiffIDs {
		if err := s.checkLayer(d); err != nil { // a short tar can be mounted; reads from it fail, or worse
			return err
		}
	}
	return mountImage(filepath.Join(s.treeDir(img.ChainID), treeIndex), s.tarPaths(img), point)
}

func (s *Store) tarPaths(img *Image) []string {
	tars := make([]string, len(img.DiffIDs))
	for i, d := range img.DiffIDs {
		tars[i] = filepath.Join(s.layerDir(d), "tar")
	}
	return tars
}

// lockMounts keeps two processes from mounting or unmounting the same image at once.
func (s *Store) lockMounts(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(s.mountsDir(), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(s.mountsDir(), ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(ctx, f, unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
