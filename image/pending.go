package image

import (
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"
)

var errPending = errors.New("not written yet")

// GCOptions of GC. Keep and InUse are called once, while nobody can take a Hold.
type GCOptions struct {
	// Keep returns the IDs of images that pods of any state were made from. nil keeps none.
	Keep func() (map[string]bool, error)
	// InUse returns the chain IDs of images that live pods stand on: their mounts stay. nil: none.
	InUse func() (map[string]bool, error)
	// Grace: what was used, or came to be, more recently stays.
	Grace time.Duration
	// Unused takes images with names too, once unused for Grace. Without it only nameless ones go.
	Unused bool
	// Images restricts GC to these IDs, and takes them without grace if they have no name. Used after Remove.
	Images []string
	// MaxSize in bytes: the longest unused images go until what stays is no larger. 0: no limit.
	MaxSize int64
	// DryRun reports and deletes nothing.
	DryRun bool
}

// GCReport says what GC took away, or in a dry run would take.
type GCReport struct {
	Images  []string // IDs
	Layers  []string // diffIDs
	Staging int      // unfinished downloads and deletions
	Mounts  int
	Freed   int64 // bytes of layers and trees
}

// GC takes away what no pod and no name needs.
func (s *Store) GC(context.Context, GCOptions) (GCReport, error) { return GCReport{}, errPending }

// ReadFile reads a regular file of an image, without a mount; symlinks lead nowhere but inside the image.
// fs.ErrNotExist where there is none; more than max bytes, and anything but a regular file, is an error.
func (s *Store) ReadFile(_ context.Context, _ *Image, _ string, _ int64) ([]byte, error) { return nil, errPending }

func (s *Store) ensureTree(context.Context, Backend, digest.Digest, []digest.Digest) error {
	return errPending
}
