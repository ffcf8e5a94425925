package image

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Evidence says how the image behind a name was verified when it was fetched. It belongs to the name: another name of
// the same image has its own. A verdict is asked for again at every use, with the policy of that time.
type Evidence struct {
	// Rule of the trust policy that decided: a prefix of names, or "default". Empty: no policy was asked
	// (--insecure-options=image, or an image that came in without fetch).
	Rule string `json:"rule,omitempty"`
	// Format of the signature: "cosign-simple", "cosign-bundle", "openpgp"; empty: only digests were checked.
	Format string `json:"format,omitempty"`
	// Key is the fingerprint of the key that made it.
	Key string `json:"key,omitempty"`
	// Subject is the digest that is signed: of the manifest, or the index, that the name led to; of an ACI, of its bytes.
	Subject string `json:"subject,omitempty"`
	// Archive is the ID of the appc archive that the image was made of, sha512-…; empty: it was made of none. (Not what the image's
	// labels say of it: those anybody can write.)
	Archive string `json:"archive,omitempty"`
	// Time of the verification.
	Time time.Time `json:"time,omitzero"`
}

// Caching says how long what a name led to holds: what a web server said of a URL, or what was seen of a file.
type Caching struct {
	// URL whose answer it was: of a name that was discovered another one than the name's.
	URL string `json:"url,omitempty"`
	// ETag to ask with whether it has changed.
	ETag string `json:"etag,omitempty"`
	// Expires: until then nobody has to ask.
	Expires time.Time `json:"expires,omitzero"`
	// Stamp of a name that is a path: what Stamp said before the image was read from it.
	Stamp string `json:"stamp,omitempty"`
}

// Stamp tells whether a file or layout of this machine is another one than before, by inode, size and times. It is empty for other names, and
// where there is nothing (any more).
func Stamp(ref Ref) string {
	switch ref.Kind {
	case OCILayout, OCIArchive, DockerArchive, File:
	default:
		return ""
	}
	info, err := os.Stat(ref.Path)
	if err == nil && info.IsDir() {
		info, err = os.Stat(filepath.Join(ref.Path, "index.json"))
	}
	if err != nil {
		return ""
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d-%d-%d-%d", st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
}

// Outdated says that ref is a path at which there is something else now than what i was read from.
func (i *Image) Outdated(ref Ref) bool {
	now := Stamp(ref)
	return now != "" && now != i.Caching.Stamp
}

// String is Evidence in the few words that tables have room for.
func (e Evidence) String() string {
	if e.Format == "" {
		return "digest"
	}
	return e.Format + " " + e.Key
}
