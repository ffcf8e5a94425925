package image

import (
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// ErrRollback: a tag leads back to what it led to before. Whoever can replay old answers of a registry could keep a host
// on a version with known holes, validly signed as it once was.
var ErrRollback = errors.New("rollback refused")

// maxEarlier digests are remembered of one name. The oldest are forgotten first.
const maxEarlier = 256

// Rollback refuses root for name if this host has recorded that the name led there, and elsewhere since. Where the name
// leads now, and what it never led to, pass; so does everything for a name that is not stored (`image rm` forgets).
func (s *Store) Rollback(name string, root digest.Digest) error {
	rec, err := s.readName(name)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) {
		return nil // a fetch repairs a record that rotted
	}
	if err != nil {
		return err
	}
	if root == "" || root == rec.Root || !slices.Contains(rec.Earlier, root) {
		return nil
	}
	return fmt.Errorf("%w: %s leads to %s, which this host had before the current %s (--allow-rollback accepts it)", ErrRollback, name, root, rec.Root)
}

// history of the name of a draft: what it led to until now, newest first. A rollback that was allowed takes the history
// back too, so that the way forward is free again. (Two fetches of one name that commit at once may each miss the
// other's step; nothing is forgotten that was recorded when either began.)
func (s *Store) history(d Draft) ([]digest.Digest, error) {
	if !d.AllowRollback {
		if err := s.Rollback(d.Name, d.Root); err != nil {
			return nil, err
		}
	}
	rec, err := s.readName(d.Name)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	earlier := slices.Clone(rec.Earlier)
	if rec.Root != "" {
		earlier = slices.Insert(earlier, 0, rec.Root)
	}
	if i := slices.Index(earlier, d.Root); i >= 0 {
		earlier = earlier[i+1:]
	}
	return earlier[:min(len(earlier), maxEarlier)], nil
}
