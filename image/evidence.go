package image

import "time"

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

// Caching is what a web server said of how long its answer holds, for a name that is a URL.
type Caching struct {
	// URL whose answer it was: of a name that was discovered another one than the name's.
	URL string `json:"url,omitempty"`
	// ETag to ask with whether it has changed.
	ETag string `json:"etag,omitempty"`
	// Expires: until then nobody has to ask.
	Expires time.Time `json:"expires,omitzero"`
}

// String is Evidence in the few words that tables have room for.
func (e Evidence) String() string {
	if e.Format == "" {
		return "digest"
	}
	return e.Format + " " + e.Key
}
