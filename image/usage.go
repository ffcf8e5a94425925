package image

import (
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// Usage is what an image takes on disk, in bytes of uncompressed layers: alone, and together with other images.
type Usage struct {
	Unique int64 `json:"unique"`
	Shared int64 `json:"shared"`
}

// Usages of images, by ID; give it all that List knows, or what is shared cannot be seen. What an image has Unique is
// what its removal frees.
func (s *Store) Usages(images []*Image) map[digest.Digest]Usage {
	users := map[digest.Digest]int{}
	sizes := map[digest.Digest]int64{}
	for _, img := range images {
		for d := range set(img.DiffIDs) {
			if users[d]++; users[d] > 1 {
				continue
			}
			if info, err := os.Stat(filepath.Join(s.layerDir(d), "tar")); err == nil {
				sizes[d] = info.Size()
			}
		}
	}
	usages := map[digest.Digest]Usage{}
	for _, img := range images {
		var u Usage
		for d := range set(img.DiffIDs) {
			if users[d] == 1 {
				u.Unique += sizes[d]
			} else {
				u.Shared += sizes[d]
			}
		}
		usages[img.ID] = u
	}
	return usages
}

func set(list []digest.Digest) map[digest.Digest]bool {
	s := map[digest.Digest]bool{}
	for _, d := range list {
		s[d] = true
	}
	return s
}
