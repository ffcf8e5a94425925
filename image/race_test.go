package image

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/gantryrun/gantry/image/layer"
)

// TestGCWhileOthersWork: fetchers, users and a collector that keeps nothing, all at once. Whoever got an image under
// a Hold has it, and at the end nothing is left.
func TestGCWhileOthersWork(t *testing.T) {
	s := newStore(t, Dir)
	tars := [][]byte{tarOf(t, "shared", "x"), tarOf(t, "a", "a"), tarOf(t, "b", "b")}
	var work sync.WaitGroup
	stop := make(chan struct{})
	var collector sync.WaitGroup
	collector.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := s.GC(t.Context(), GCOptions{Unused: true}); err != nil {
				t.Errorf("gc: %v", err)
				return
			}
		}
	})
	for i := range 4 {
		work.Go(func() {
			for range 15 {
				if err := putAndUse(t, s, fmt.Sprintf("docker.io/library/app%d:latest", i%2), tars[0], tars[1+i%2]); err != nil {
					t.Errorf("use: %v", err)
				}
			}
		})
	}
	work.Wait()
	close(stop)
	collector.Wait()
	if _, err := s.GC(t.Context(), GCOptions{Unused: true}); err != nil {
		t.Error(err)
	}
	if left := contents(t, s); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// putAndUse does what fetch and run do.
func putAndUse(t *testing.T, s *Store, name string, tars ...[]byte) error {
	var ids []digest.Digest
	for _, data := range tars {
		ids = append(ids, digest.FromBytes(data))
	}
	draft := draftOf(t, name, name, ids...)
	for {
		for i, data := range tars {
			if err := put(t, s, ids[i], data); err != nil {
				return err
			}
		}
		_, err := s.Commit(t.Context(), draft)
		if err == nil {
			break
		}
		if !errors.Is(err, ErrLayersMissing) {
			return fmt.Errorf("commit: %w", err)
		}
	}
	release, err := s.Hold()
	if err != nil {
		return err
	}
	defer release()
	img, err := s.Get(t.Context(), mustRef(t, name))
	if errors.Is(err, ErrNotFound) {
		return nil // collected before the hold: that is allowed
	}
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	lower, err := s.Lower(t.Context(), img)
	if err != nil {
		return fmt.Errorf("lower: %w", err)
	}
	_, err = os.ReadFile(filepath.Join(lower[0], "shared"))
	return err
}

func put(t *testing.T, s *Store, id digest.Digest, data []byte) error {
	if there, err := s.HasLayer(id); err != nil || there {
		return err
	}
	stage, err := s.StageLayer(t.Context(), id)
	if err != nil || stage == nil {
		return err
	}
	defer stage.Abort() // after Commit nothing is left to do
	if err := stage.Fill(bytes.NewReader(data), layer.Limits{}); err != nil {
		return err
	}
	return stage.Commit()
}
