package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image/layer"
)

// What rotted is replaced by rename: whoever has the old file open or mounted, a running pod above all, keeps it as it is.

// replaceLayer reads the uncompressed layer from r and puts it, with a new index, in the place of what is there.
func (s *Store) replaceLayer(ctx context.Context, diffID digest.Digest, r io.Reader) error {
	if err := s.create(); err != nil {
		return err
	}
	ls, err := s.stageAgain(ctx, diffID)
	if err != nil {
		return err
	}
	defer ls.Abort() //nolint:errcheck // after Commit nothing is left to fail; before, GC sweeps what stays
	if err := ls.Fill(r, layer.Limits{}); err != nil {
		return err
	}
	if err := ls.Commit(); err != nil {
		return err
	}
	return syncDir(s.layersDir())
}

// replace is commit where something may be in the place: both change names, and what was there goes.
func (st *stage) replace() error {
	// While we hold its lock nobody takes the old directory, under the name that it is about to get, for a stage. Nobody else wants this
	// lock now, so there is nothing to call off: who else replaces it waits for the stage's.
	old, err := lockStage(context.Background(), st.final)
	if errors.Is(err, fs.ErrNotExist) {
		st.again = false
		return st.commit()
	}
	if err != nil {
		return err
	}
	defer old.Close()
	if err := unix.Renameat2(unix.AT_FDCWD, st.dir, unix.AT_FDCWD, st.final, unix.RENAME_EXCHANGE); err != nil {
		return &os.LinkError{Op: "exchange", Old: st.dir, New: st.final, Err: err}
	}
	st.over = true
	trash := filepath.Join(filepath.Dir(st.final), trashPrefix+strconv.FormatUint(rand.Uint64(), 36))
	err = os.Rename(st.dir, trash)
	if err == nil {
		err = os.RemoveAll(trash)
	}
	return errors.Join(err, st.lock.Close())
}

// replaceLayerIndex makes a layer's index anew from its tar, which is whole.
func (s *Store) replaceLayerIndex(diffID digest.Digest) error {
	tar, err := os.Open(filepath.Join(s.layerDir(diffID), "tar"))
	if err != nil {
		return err
	}
	defer tar.Close()
	scanned, err := layer.Scan(tar, layer.Limits{})
	if err != nil {
		return fmt.Errorf("layer %s: %w", diffID, err)
	}
	var index bytes.Buffer
	if err := scanned.Encode(&index); err != nil {
		return err
	}
	if err := publish(newFile{path: filepath.Join(s.layerDir(diffID), "index"), mode: 0o400, data: index.Bytes()}); err != nil {
		return err
	}
	return syncDir(s.layerDir(diffID))
}

// replaceTree makes a tree of an image anew from its layers, which are whole: the merged index, or the unpacked tree.
func (s *Store) replaceTree(ctx context.Context, img *Image, part string) error {
	release, err := s.Hold() // what is replaced has a name that GC deletes, and so has, for a moment, what replaces it
	if err != nil {
		return err
	}
	defer release()
	if err := s.makeTree(ctx, filepath.Join(s.treeDir(img.ChainID), part), "", img.DiffIDs); err != nil {
		return err
	}
	return syncDir(s.treeDir(img.ChainID))
}
