package image

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// dockerHub is how people write the registry; dockerHubHost is how programs do.
const (
	dockerHub     = "docker.io"
	dockerHubHost = "index.docker.io"
)

// parseRegistry parses docker's short and long names. What is a host and what the defaults are, is as everybody reads them
// (distribution's reference package); we decide what is allowed, because names become URLs, file names and the prefixes of
// trust rules.
func parseRegistry(s string) (Ref, error) {
	ref := Ref{Kind: Registry, Registry: dockerHub, Tag: "latest"}
	name, sum, pinned := strings.Cut(lowerHost(s), "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') { // else it begins a port
		name, ref.Tag = name[:i], name[i+1:]
	}
	ref.Repository = name
	if host, path, ok := strings.Cut(name, "/"); ok && (host == "localhost" || strings.ContainsAny(host, ".:")) {
		ref.Registry, ref.Repository = host, path
	}
	if ref.Registry == dockerHubHost {
		ref.Registry = dockerHub
	}
	if !consistsOf(ref.Repository, lower+digits+"_-./") || !consistsOf(ref.Tag, lower+upper+digits+"_-.") || len(ref.Tag) > maxTag || pinned && CheckDigest(digest.Digest(sum)) != nil {
		return Ref{}, fmt.Errorf("%w: want [HOST[:PORT]/]NAME[:TAG|@DIGEST], lower case", ErrBadRef)
	}
	if ref.Registry == dockerHub && !strings.Contains(ref.Repository, "/") {
		ref.Repository = "library/" + ref.Repository
	}
	if pinned { // which decides, whatever the tag
		ref.Tag, ref.Digest = "", digest.Digest(sum)
	}
	return ref, ref.checkRegistry()
}

func (r Ref) checkRegistry() error {
	switch {
	case len(r.Registry) > 255 || !isHost(r.Registry):
		return fmt.Errorf("%w: bad registry host %q", ErrBadRef, r.Registry)
	case len(r.Repository) > 255 || !isRepository(r.Repository):
		return fmt.Errorf("%w: bad repository %q", ErrBadRef, r.Repository)
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
