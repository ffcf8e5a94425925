package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Remove takes names away: the one that ref is, or all of the image whose ID ref gives. It returns the names removed.
// The image itself, and layers that nothing else shares, go with the next GC, which knows the pods; an image without
// a name is GC's, whatever its age, once it is given in GCOptions.Images.
func (s *Store) Remove(ctx context.Context, ref Ref) (removed []string, err error) {
	img, err := s.Get(ctx, ref)
	if err != nil && ref.Kind != ID && !errors.Is(err, ErrNotFound) {
		// A broken record must not be there for ever: the name can go without it.
		return s.unlinkNames([]string{ref.String()})
	}
	if errors.Is(err, ErrCorrupt) {
		if img, err = s.broken(ctx, ref); err == nil && len(img.Names) == 0 {
			return nil, nil // GC takes it
		}
	}
	if err != nil {
		return nil, fmt.Errorf("remove image: %w", err)
	}
	return s.unlinkNames(img.Names)
}

func (s *Store) unlinkNames(names []string) (removed []string, err error) {
	for _, name := range names {
		switch e := os.Remove(s.namePath(name)); {
		case e == nil:
			removed = append(removed, name)
		case !errors.Is(e, fs.ErrNotExist):
			err = errors.Join(err, fmt.Errorf("remove image name %s: %w", name, e))
		}
	}
	return removed, err
}

// broken finds an image by ID among those whose record cannot be read.
func (s *Store) broken(ctx context.Context, ref Ref) (*Image, error) {
	id, err := s.expandID(ref)
	if err != nil {
		return nil, err
	}
	list, err := s.Broken(ctx)
	for _, img := range list {
		if img.ID == id {
			return img, nil
		}
	}
	return nil, errors.Join(err, ErrNotFound)
}
