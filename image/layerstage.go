package image

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image/layer"
)

// LayerStage is a layer on its way into the store: Fill it, then Commit it, and Abort in any case.
type LayerStage struct {
	stage  *stage
	diffID digest.Digest
	tar    *os.File
	layer  *layer.Layer
	// replaced is called when the layer has taken the place of one that was not whole.
	replaced func() error
}

// HasLayer says whether the layer is in the store, as long as it was when it was stored: that is asked, and not its digest. If so it
// is marked as used now, so that GC's grace covers it until an image claims it.
func (s *Store) HasLayer(diffID digest.Digest) (bool, error) {
	if err := CheckDigest(diffID); err != nil {
		return false, err
	}
	now := time.Now()
	err := os.Chtimes(s.layerDir(diffID), now, now)
	if err == nil {
		err = s.checkLayer(diffID)
	}
	if os.IsNotExist(err) || errors.Is(err, ErrCorrupt) {
		return false, nil
	}
	return err == nil, err
}

// StageLayer begins a layer. If another process is at the same one, it waits until that is done or dead. A nil stage
// says that the layer is in the store. One whose tar has not the size that was stored is replaced: images that are mounted from it
// are then mounted from the new one.
func (s *Store) StageLayer(ctx context.Context, diffID digest.Digest) (*LayerStage, error) {
	if err := CheckDigest(diffID); err != nil {
		return nil, err
	}
	if err := s.create(); err != nil {
		return nil, err
	}
	if errors.Is(s.checkLayer(diffID), ErrCorrupt) {
		return s.stageInstead(ctx, diffID)
	}
	st, err := openStage(ctx, s.layerDir(diffID), s.layerDir(diffID))
	if err != nil || st == nil {
		return nil, stageError(diffID, err)
	}
	return newLayerStage(st, diffID)
}

func newLayerStage(st *stage, diffID digest.Digest) (*LayerStage, error) {
	tar, err := createFile(st.path("tar"))
	if err != nil {
		return nil, stageError(diffID, errors.Join(err, st.abort()))
	}
	return &LayerStage{stage: st, diffID: diffID, tar: tar}, nil
}

func stageError(diffID digest.Digest, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("stage layer %s: %w", diffID, err)
}

// Fill reads the uncompressed layer from r to its end in one pass: it is hashed, written and scanned. An error of r
// comes back wrapped.
func (ls *LayerStage) Fill(r io.Reader, limits layer.Limits) error {
	ahead := newReadAhead(r)
	defer ahead.stop()
	tee := &tarTee{src: ahead, hash: sha256.New(), tar: ls.tar}
	scanned, err := layer.Scan(tee, limits)
	if err == nil {
		_, err = io.Copy(io.Discard, tee) // a scanner that stopped early must not leave bytes unhashed
	}
	if err != nil {
		return fmt.Errorf("layer %s: %w", ls.diffID, err)
	}
	if got := digest.NewDigest(digest.SHA256, tee.hash); got != ls.diffID {
		return fmt.Errorf("layer %s: content has diffID %s: the image's config does not match its layers", ls.diffID, got)
	}
	ls.layer = scanned
	return nil
}

// Commit makes the layer part of the store. When it returns nil the layer's bytes are on disk; its name is with the
// Commit of an image that has it.
func (ls *LayerStage) Commit() error {
	if ls.layer == nil {
		return fmt.Errorf("commit layer %s: not filled", ls.diffID)
	}
	index, err := createFile(ls.stage.path("index"))
	if err == nil {
		err = writeAll(index, ls.layer.Encode)
	}
	if err == nil {
		err = syncTogether(ls.tar.Sync, index.Sync, ls.stage.sync)
	}
	if err == nil {
		dropCache(ls.tar)
	}
	if err == nil {
		err = ls.stage.commit()
	}
	if err == nil && ls.replaced != nil {
		err = ls.replaced()
	}
	if index != nil {
		index.Close()
	}
	if err != nil {
		return fmt.Errorf("commit layer %s: %w", ls.diffID, err)
	}
	return nil
}

// dropCache takes a tar that is on disk out of the page cache where the mounted image will read past it (see takesDirectIO): nobody would
// use it there, others can use the memory, and gc has no pages to throw away (measured: rm and gc of 800 MB in 16 ms instead of 40).
// Writing it with O_DIRECT in the first place was slower: each write then waits for the disk (zstd 2.1 s instead of 1.7 s).
func dropCache(tar *os.File) {
	if takesDirectIO([]string{tar.Name()}) {
		_ = unix.Fadvise(int(tar.Fd()), 0, 0, unix.FADV_DONTNEED)
	}
}

// Abort frees everything that was not committed.
func (ls *LayerStage) Abort() error { return errors.Join(ls.tar.Close(), ls.stage.abort()) }

// createFile makes a file that is only read once it is written.
func createFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o400)
}

func writeAll(f *os.File, fill func(io.Writer) error) error {
	w := bufio.NewWriterSize(f, 256<<10)
	if err := fill(w); err != nil {
		return err
	}
	return w.Flush()
}
