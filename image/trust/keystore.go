package trust

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gantryrun/gantry/pods/atomicfile"
)

// Keys lie in trustedkeys/prefix.d/<prefix>/<fingerprint> (a directory per component of the prefix) and, for all names,
// in trustedkeys/root.d/<fingerprint>. The file names the key, the key has to be the one named, and an empty file in a
// later directory takes the key of an earlier one away. A prefix whose keys are all taken away still requires a
// signature, which nobody can give: to lose trust in a key must not open the door.
const (
	keysFolder   = "trustedkeys"
	prefixFolder = "prefix.d"
	rootFolder   = "root.d"

	maxComponents = 64
)

// scopeDir is where a configuration directory keeps the keys of a prefix; "" is the root of all names.
func scopeDir(config, prefix string) string {
	if prefix == "" {
		return filepath.Join(config, keysFolder, rootFolder)
	}
	return filepath.Join(config, keysFolder, prefixFolder, filepath.FromSlash(prefix))
}

func (p *Policy) loadKeys(dir string) error {
	if err := p.loadScope(filepath.Join(dir, rootFolder), "", 0); err != nil {
		return err
	}
	return p.loadScope(filepath.Join(dir, prefixFolder), "", 1)
}

// loadScope notes the keys of one directory, and of the longer prefixes below it; depth 0 has none.
func (p *Policy) loadScope(dir, prefix string, depth int) error {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && depth > maxComponents {
		err = fmt.Errorf("%s: more than %d components", dir, maxComponents)
	}
	if err != nil {
		return err
	}
	for _, e := range list {
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(e.Name(), "."): // being written, or an editor's
		case info.IsDir() && depth > 0:
			err = p.loadScope(path, strings.TrimPrefix(prefix+"/"+e.Name(), "/"), depth+1)
		case info.Mode().IsRegular() && IsFingerprint(e.Name()) && (depth != 1):
			err = p.noteKey(prefix, path, info.Size() == 0)
		default:
			err = fmt.Errorf("%s: want a key in a file that has its fingerprint for a name", path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Policy) noteKey(prefix, path string, masked bool) error {
	if prefix != "" {
		if same, err := CheckPrefix(prefix); err != nil || same != prefix {
			return fmt.Errorf("%s: no name would ever match the prefix %q: write %q: %w", path, prefix, same, cmp.Or(err, errName))
		}
	}
	if p.keys[prefix] == nil {
		p.keys[prefix] = map[string]string{}
	}
	fingerprint := filepath.Base(path)
	if masked {
		path = ""
	}
	p.keys[prefix][fingerprint] = path
	return nil
}

// IsFingerprint says whether s is written like the fingerprint of a key.
func IsFingerprint(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, digits+"abcdef") == ""
}

// files of the keys that are not masked, in a settled order.
func files(keys map[string]string) (list []string) {
	for _, fingerprint := range slices.Sorted(maps.Keys(keys)) {
		if path := keys[fingerprint]; path != "" {
			list = append(list, path)
		}
	}
	return list
}

// Trusted is a key in the store, for List.
type Trusted struct {
	Prefix      string // "": all names
	Fingerprint string
	Path        string // of the file that counts; "": masked
}

// List returns the keys of a policy by prefix and fingerprint, masked ones too.
func (p *Policy) List() []Trusted {
	var list []Trusted
	for prefix, keys := range p.keys {
		for fingerprint, path := range keys {
			list = append(list, Trusted{prefix, fingerprint, path})
		}
	}
	slices.SortFunc(list, func(a, b Trusted) int {
		return cmp.Or(cmp.Compare(a.Prefix, b.Prefix), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return list
}

// Key is a public key as it is stored. What it can do is package signature's to know.
type Key struct {
	// Fingerprint in lower-case hex: OpenPGP's own, or the SHA-256 of a PEM key's DER.
	Fingerprint string `json:"fingerprint"`
	// Kind says to people what it is: "ECDSA P-256", "OpenPGP RSA 4096, Jane <j@example.com>".
	Kind string `json:"kind"`
	// Data of its file.
	Data []byte `json:"-"`
}

// Add stores a key for prefix ("": all names) in a configuration directory; it survives a power cut. It is idempotent.
// The prefix has to come from CheckPrefix.
func Add(config, prefix string, key Key) (path string, err error) {
	dir := scopeDir(config, prefix)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("trust key: %w", err)
	}
	path = filepath.Join(dir, key.Fingerprint)
	if err := atomicfile.Write(path, 0o644, key.Data, true); err != nil {
		return "", fmt.Errorf("trust key: %w", err)
	}
	return path, nil
}

// Remove ends the trust in a key for prefix: its file is deleted from every configuration directory but the first,
// which belongs to the distribution; a key that is there is masked in the second. fs.ErrNotExist says that no key of
// that fingerprint was trusted.
func Remove(dirs []string, prefix, fingerprint string) error {
	gone := false
	for _, dir := range dirs[1:] {
		if dir == "" {
			continue
		}
		err := os.Remove(filepath.Join(scopeDir(dir, prefix), fingerprint))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove key: %w", err)
		}
		gone = gone || err == nil
		prune(scopeDir(dir, prefix), filepath.Join(dir, keysFolder))
	}
	if info, err := os.Stat(filepath.Join(scopeDir(dirs[0], prefix), fingerprint)); err == nil && info.Size() > 0 {
		_, err := Add(dirs[1], prefix, Key{Fingerprint: fingerprint})
		return err
	}
	if !gone {
		return fmt.Errorf("remove key %s: %w", fingerprint, fs.ErrNotExist)
	}
	return nil
}

// prune removes empty directories, from dir up to above.
func prune(dir, above string) {
	for dir != above && strings.HasPrefix(dir, above) && os.Remove(dir) == nil {
		dir = filepath.Dir(dir)
	}
}
