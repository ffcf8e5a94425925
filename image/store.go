package image

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Store is the images below one --dir. Any number of processes use one at a time; a Store may be used by any number
// of goroutines and holds nothing open.
type Store struct {
	dir     string
	runDir  string
	backend Backend
}

// Options of Open. The zero value is the default.
type Options struct {
	// Backend for the trees of images; Auto asks the kernel and the file system, once, when a tree is first needed.
	Backend Backend
	// RunDir is where images are mounted: "/run/gantry". It must not survive a reboot.
	RunDir string
}

// DefaultRunDir is where images are mounted unless Options says otherwise.
const DefaultRunDir = "/run/gantry"

// Open returns the store below dir, which need not exist yet: whoever first writes makes it. It touches nothing.
func Open(dir string, opts Options) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	if opts.RunDir == "" {
		opts.RunDir = DefaultRunDir
	}
	if !opts.Backend.valid() {
		return nil, fmt.Errorf("open image store: unknown backend %q: want auto, erofs or dir", opts.Backend)
	}
	return &Store{dir: abs, runDir: opts.RunDir, backend: opts.Backend}, nil
}

// Dir is the absolute path of the store.
func (s *Store) Dir() string { return s.dir }

// Directories and files below the store. Digests must have passed CheckDigest.
func (s *Store) layersDir() string { return filepath.Join(s.dir, "layers") }
func (s *Store) imagesDir() string { return filepath.Join(s.dir, "images") }
func (s *Store) blobsDir() string  { return filepath.Join(s.dir, "blobs", "sha256") }
func (s *Store) recordsDir() string {
	return filepath.Join(s.dir, "refs", "images")
}
func (s *Store) namesDir() string { return filepath.Join(s.dir, "refs", "names") }

func (s *Store) layerDir(d digest.Digest) string   { return filepath.Join(s.layersDir(), d.Encoded()) }
func (s *Store) treeDir(d digest.Digest) string    { return filepath.Join(s.imagesDir(), d.Encoded()) }
func (s *Store) blobPath(d digest.Digest) string   { return filepath.Join(s.blobsDir(), d.Encoded()) }
func (s *Store) recordPath(d digest.Digest) string { return filepath.Join(s.recordsDir(), d.Encoded()) }
func (s *Store) namePath(name string) string       { return filepath.Join(s.namesDir(), escapeName(name)) }

// maxFileName leaves room for the prefix of a temporary file within NAME_MAX.
const maxFileName = 230

// escapeName makes one file name of an image's name, readable while it fits. The record inside repeats the name, and
// readers compare.
func escapeName(name string) string {
	escaped := url.PathEscape(name)
	if len(escaped) > maxFileName || escaped[0] == '.' {
		return digest.FromString(name).String()
	}
	return escaped
}

// create makes the store's directories. Layers hold setuid programs of strangers: nobody but root may look in.
func (s *Store) create() error {
	for _, dir := range []string{s.layersDir(), s.imagesDir(), s.blobsDir(), s.recordsDir(), s.namesDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("create image store: %w", err)
		}
	}
	return nil
}

// Scratch makes a file without a name on the disk of the store: whoever is killed, the kernel takes it back.
func (s *Store) Scratch() (*os.File, error) {
	if err := s.create(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(s.layersDir(), os.O_RDWR|unix.O_TMPFILE, 0o600)
	if err == nil {
		return f, nil
	}
	// Not every file system can. What a kill leaves between these two, GC takes, and may be the faster one here.
	if f, err = os.CreateTemp(s.layersDir(), stagePrefix); err != nil {
		return nil, err
	}
	if err := remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// exists says whether path is there; any answer but "no such file" is an error.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if err == nil {
		return true, nil
	}
	if os.IsNotExist(err) {
		return false, nil
	}
	return false, err
}

// entries lists the names in a directory of the store; a store that was never written to has none.
func entries(dir string) ([]fs.DirEntry, error) {
	list, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	return list, err
}
