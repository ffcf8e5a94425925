package image

import "errors"

// Errors that callers branch on.
var (
	// ErrNotFound: no image of that name or ID is in the store.
	ErrNotFound = errors.New("image not found")
	// ErrAmbiguous: an ID prefix matches several images.
	ErrAmbiguous = errors.New("image ID is ambiguous")
	// ErrCorrupt: what is stored is not what was stored.
	ErrCorrupt = errors.New("store is corrupt")
	// ErrBackend: the chosen backend cannot work here; the message says what to do.
	ErrBackend = errors.New("store backend unavailable")
)

// Errors of who brings images in, which packages fetch and aci do.
var (
	// ErrVerify: bytes are not those that the manifest, or the user, asked for. Fetching again from the same place is in vain.
	ErrVerify = errors.New("verification failed")
	// ErrManifest: a manifest, index or config that is broken, or may be read in two ways.
	ErrManifest = errors.New("invalid manifest")
	// ErrLimit: an image is larger than what is allowed of it; the message names the limit.
	ErrLimit = errors.New("limit exceeded")
	// ErrPlatform: the image is not made for the platform that was asked for.
	ErrPlatform = errors.New("image is for another platform")
	// ErrUnsupported: a kind of image that cannot be fetched yet.
	ErrUnsupported = errors.New("not supported yet")
	// ErrConfig: a file of registries.d or auth.d that cannot be used; the message names it.
	ErrConfig = errors.New("bad configuration")
	// ErrBlocked: the configuration forbids to fetch from there.
	ErrBlocked = errors.New("registry is blocked by configuration")
	// ErrUnreachable: nobody answers there, or not the right one (DNS, TLS).
	ErrUnreachable = errors.New("registry unreachable")
	// ErrStalled: a registry sent nothing for too long.
	ErrStalled = errors.New("no bytes arrive")
	// ErrDenied: the registry wants (other) credentials.
	ErrDenied = errors.New("registry denies access")
)
