package craft

import (
	"bytes"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Site is a registry, and whatever else a test has answer: what it has was put there, unchecked, and a hook may answer
// first.
type Site struct {
	mu    sync.Mutex
	pages map[string]page
	hook  func(w http.ResponseWriter, r *http.Request) bool
	seen  []*http.Request
}

type page struct {
	contentType string
	body        []byte
}

// Reset forgets everything.
func (s *Site) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages, s.hook, s.seen = nil, nil, nil
}

// Page puts something at a path.
func (s *Site) Page(path, contentType string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pages == nil {
		s.pages = map[string]page{}
	}
	s.pages[path] = page{contentType, body}
}

// Document puts a manifest or index under a tag and its digest.
func (s *Site) Document(repository, tag, mediaType string, doc []byte) {
	s.Page("/v2/"+repository+"/manifests/"+tag, mediaType, doc)
	s.Page("/v2/"+repository+"/manifests/"+digest.FromBytes(doc).String(), mediaType, doc)
}

// Blob puts a blob.
func (s *Site) Blob(repository, name string, data []byte) {
	s.Page("/v2/"+repository+"/blobs/"+name, "application/octet-stream", data)
}

// Put puts an image.
func (s *Site) Put(repository, tag string, img *Image) {
	for d, data := range img.Blobs {
		s.Blob(repository, d, data)
	}
	s.Document(repository, tag, ocispec.MediaTypeImageManifest, img.Manifest)
}

// Hook is asked first from now on: true says that it has answered.
func (s *Site) Hook(hook func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

// Seen are the requests so far whose path has part in it.
func (s *Site) Seen(part string) (list []*http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.seen {
		if strings.Contains(r.URL.Path, part) {
			list = append(list, r)
		}
	}
	return list
}

// Paths are where something lies.
func (s *Site) Paths() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var paths []string
	for p := range maps.Keys(s.pages) {
		paths = append(paths, p)
	}
	return paths
}

// ServeHTTP serves what was put there, with ranges.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.seen = append(s.seen, r)
	hook := s.hook
	p, ok := s.pages[r.URL.Path]
	s.mu.Unlock()
	switch {
	case hook != nil && hook(w, r):
	case ok:
		w.Header().Set("Content-Type", p.contentType)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(p.body))
	case r.URL.Path == "/v2/":
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("{}"))
	default:
		http.NotFound(w, r)
	}
}
