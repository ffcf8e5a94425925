package image

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
)

// dockerHub is how people write the registry that the library calls index.docker.io.
const dockerHub = "docker.io"

// parseRegistry parses docker's short and long names. The library decides what is a host and what the defaults are;
// we decide what is allowed, because names become URLs, file names and the prefixes of trust rules.
func parseRegistry(s string) (Ref, error) {
	parsed, err := name.ParseReference(lowerHost(s), name.WeakValidation)
	if err != nil {
		return Ref{}, fmt.Errorf("%w: want [HOST[:PORT]/]NAME[:TAG|@DIGEST], lower case", ErrBadRef)
	}
	ref := Ref{Kind: Registry, Registry: parsed.Context().RegistryStr(), Repository: parsed.Context().RepositoryStr()}
	if ref.Registry == name.DefaultRegistry {
		ref.Registry = dockerHub
	}
	switch p := parsed.(type) {
	case name.Digest:
		ref.Digest = digest.Digest(p.DigestStr())
	case name.Tag:
		ref.Tag = p.TagStr()
	}
	return ref, ref.checkRegistry()
}

func (r Ref) checkRegistry() error {
	switch {
	case len(r.Registry) > 255 || !isHost(r.Registry):
		return fmt.Errorf("%w: bad registry host %q", ErrBadRef, r.Registry)
	case len(r.Repository) > 255 || !isRepository(r.Repository):
		return fmt.Errorf("%w: bad repository %q", ErrBadRef, r.Repository)
	case r.Digest != "" && CheckDigest(r.Digest) != nil:
		return fmt.Errorf("%w: bad digest %q", ErrBadRef, r.Digest)
	case r.Digest == "" && !isTag(r.Tag):
		return fmt.Errorf("%w: bad tag %q", ErrBadRef, r.Tag)
	}
	return nil
}

// lowerHost lowers the case of what may be a host, so that one registry has one name.
func lowerHost(s string) string {
	host, rest, ok := strings.Cut(s, "/")
	if !ok || !strings.ContainsAny(host, ".:") {
		return s
	}
	return strings.ToLower(host) + "/" + rest
}

// CheckDigest says whether d is a well-formed digest of an algorithm that the store accepts. It has to be asked before
// a digest of foreign origin becomes part of a path or URL.
func CheckDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", clip(string(d)), err)
	}
	if d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest %q: only sha256 is supported", clip(string(d)))
	}
	return nil
}
