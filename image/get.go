package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Get finds an image by name (a record of the name, then one of the image: two small reads, no hashing) or by the
// leading digits of its ID. Errors are ErrNotFound, ErrAmbiguous, or that a record cannot be read.
func (s *Store) Get(ctx context.Context, ref Ref) (*Image, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if ref.Kind == ID {
		return s.getID(ref)
	}
	rec, err := s.readName(ref.String())
	if err != nil {
		return nil, err
	}
	img, err := s.readImage(rec.ID)
	if err != nil {
		return nil, err
	}
	img.Names = []string{rec.Name}
	img.Source, img.Verified, img.Evidence, img.Caching = rec.Source, rec.Verified, rec.Evidence, rec.Caching
	return img, nil
}

func (s *Store) getID(ref Ref) (*Image, error) {
	id, err := s.expandID(ref)
	if err != nil {
		return nil, err
	}
	img, err := s.readImage(id)
	if err != nil {
		return nil, err
	}
	names, err := s.names()
	img.addNames(names[id])
	return img, err
}

// expandID completes an ID prefix.
func (s *Store) expandID(ref Ref) (digest.Digest, error) {
	if ref.Algorithm != digest.SHA256.String() {
		return s.findArchive(ref)
	}
	if len(ref.Prefix) == digest.SHA256.Size()*2 {
		return digest.NewDigestFromEncoded(digest.SHA256, ref.Prefix), nil
	}
	ids, err := s.ids()
	if err != nil {
		return "", err
	}
	var found []digest.Digest
	for _, id := range ids {
		if strings.HasPrefix(id.Encoded(), ref.Prefix) {
			found = append(found, id)
		}
	}
	return only(ref, found)
}

// findArchive finds the image that was made of an appc archive, by the archive's ID.
func (s *Store) findArchive(ref Ref) (digest.Digest, error) {
	names, broken := s.names()
	var found []digest.Digest
	for id, recs := range names {
		if slices.ContainsFunc(recs, func(r nameRecord) bool { return strings.HasPrefix(r.Evidence.Archive, ref.String()) }) {
			found = append(found, id)
		}
	}
	if len(found) == 0 && broken != nil {
		return "", broken
	}
	return only(ref, found)
}

func only(ref Ref, found []digest.Digest) (digest.Digest, error) {
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%w: %s", ErrNotFound, ref)
	case 1:
		return found[0], nil
	default:
		return "", fmt.Errorf("%w: %s matches %d images: give more digits", ErrAmbiguous, ref, len(found))
	}
}

// List returns every image, newest first. A record that cannot be read hides only itself: the others are returned
// together with the errors, joined.
func (s *Store) List(ctx context.Context) ([]*Image, error) {
	ids, err := s.ids()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	names, broken := s.names()
	var images []*Image
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		img, err := s.readImage(id)
		if errors.Is(err, ErrNotFound) {
			continue // removed since the directory was read
		}
		if err != nil {
			broken = errors.Join(broken, err)
			continue
		}
		img.addNames(names[id])
		images = append(images, img)
	}
	slices.SortFunc(images, func(a, b *Image) int {
		return cmp.Or(b.Fetched.Compare(a.Fetched), cmp.Compare(a.ID, b.ID))
	})
	return images, broken
}

// Broken returns the images whose own record cannot be read, which List leaves out: their IDs and names.
func (s *Store) Broken(ctx context.Context) ([]*Image, error) {
	ids, err := s.ids()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	names, _ := s.names() // those that can be read
	var list []*Image
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, err := s.readImage(id); err == nil || errors.Is(err, ErrNotFound) {
			continue
		}
		img := &Image{ID: id, Broken: true}
		img.addNames(names[id])
		list = append(list, img)
	}
	return list, nil
}

// ids of all image records, by directory entry alone.
func (s *Store) ids() ([]digest.Digest, error) {
	list, err := entries(s.recordsDir())
	if err != nil {
		return nil, err
	}
	var ids []digest.Digest
	for _, e := range list {
		if d := digest.NewDigestFromEncoded(digest.SHA256, e.Name()); CheckDigest(d) == nil {
			ids = append(ids, d)
		}
	}
	return ids, nil
}

// names reads every name record, by the image that it leads to.
func (s *Store) names() (map[digest.Digest][]nameRecord, error) {
	list, err := entries(s.namesDir())
	if err != nil {
		return nil, err
	}
	byID := map[digest.Digest][]nameRecord{}
	var broken error
	for _, e := range list {
		if strings.HasPrefix(e.Name(), ".") {
			continue // a temporary file
		}
		rec, err := s.readNameFile(s.namesDir() + "/" + e.Name())
		if err != nil {
			broken = errors.Join(broken, err)
			continue
		}
		byID[rec.ID] = append(byID[rec.ID], rec)
	}
	return byID, broken
}

func (i *Image) addNames(recs []nameRecord) {
	slices.SortFunc(recs, func(a, b nameRecord) int { return a.Fetched.Compare(b.Fetched) })
	for _, rec := range recs {
		i.Names = append(i.Names, rec.Name)
		i.Source, i.Verified, i.Evidence = rec.Source, rec.Verified, rec.Evidence
	}
	slices.Sort(i.Names)
}
