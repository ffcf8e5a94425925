package signature

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/trust"
)

// Source is the repository that an image came from, where its signatures are too. What it returns is bounded in size;
// nothing of it is believed.
type Source interface {
	// Manifest returns a manifest or index by tag or digest; image.ErrNotFound where there is none.
	Manifest(ctx context.Context, id string) ([]byte, error)
	// Referrers lists what says that it is about subject; none is no error.
	Referrers(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error)
	// Blob returns a blob of at most limit bytes.
	Blob(ctx context.Context, desc ocispec.Descriptor, limit int64) ([]byte, error)
}

// Formats of signatures, as Evidence has them.
const (
	FormatSimple  = "cosign-simple"
	FormatBundle  = "cosign-bundle"
	FormatOpenPGP = "openpgp"
)

// Bounds of the search for one good signature.
const (
	maxSignatures = 50
	maxReferrers  = 50
	maxPayload    = 256 << 10
)

// Verify says whether the image of that name (see trust.NameOf) may be used. Digests are what the name led to: an index and
// the manifest chosen from it, or the manifest alone; a signature over one of them is enough, because the one holds the
// digest of the other. The error is trust.ErrUntrusted, trust.ErrConfig, or what the source had to say.
func Verify(ctx context.Context, p *trust.Policy, src Source, name string, digests ...digest.Digest) (image.Evidence, error) {
	d := p.For(name)
	if err := d.Refusal(name); err != nil {
		return image.Evidence{}, err
	}
	if d.Require == trust.Digest {
		return image.Evidence{Rule: d.Rule, Time: time.Now().UTC()}, nil
	}
	keys, err := readKeys(d)
	if err != nil {
		return image.Evidence{}, err
	}
	v := &verifier{src: src, name: name, keys: keys}
	for _, subject := range digests {
		evidence, err := v.search(ctx, subject)
		if err != nil {
			return image.Evidence{}, fmt.Errorf("look for signatures of %s: %w", subject, err)
		}
		if evidence != nil {
			evidence.Rule, evidence.Subject, evidence.Time = d.Rule, subject.String(), time.Now().UTC()
			return *evidence, nil
		}
	}
	return image.Evidence{}, v.refusal(d, digests)
}

// verifier looks for one good signature, and remembers why others were none.
type verifier struct {
	src     Source
	name    string
	keys    []*Key
	reasons []string
	seen    int
}

// search tries every signature of subject that there is. nil, nil: none is good.
func (v *verifier) search(ctx context.Context, subject digest.Digest) (*image.Evidence, error) {
	evidence, err := v.simpleSigning(ctx, subject, signatureTag(subject))
	if evidence != nil || err != nil {
		return evidence, err
	}
	list, err := v.src.Referrers(ctx, subject)
	if err != nil {
		return nil, err
	}
	for i, desc := range list {
		if i == maxReferrers {
			v.note("more than %d referrers", maxReferrers)
			break
		}
		switch desc.ArtifactType {
		case bundleType, simpleArtifact, "", ocispec.MediaTypeEmptyJSON: // some registries name the config's type
		default:
			continue
		}
		if evidence, err = v.referrer(ctx, subject, desc); evidence != nil || err != nil {
			return evidence, err
		}
	}
	return nil, nil
}

// note why a signature does not count. Text of foreign origin has to come quoted.
func (v *verifier) note(format string, args ...any) {
	if len(v.reasons) < 3 {
		v.reasons = append(v.reasons, fmt.Sprintf(format, args...))
	}
}

// counted says whether one more signature is to be tried.
func (v *verifier) counted() bool {
	v.seen++
	if v.seen == maxSignatures+1 {
		v.note("more than %d signatures", maxSignatures)
	}
	return v.seen <= maxSignatures
}

func (v *verifier) refusal(d trust.Decision, digests []digest.Digest) error {
	why := "it has no signature"
	if len(v.reasons) > 0 {
		why = "no signature of it counts: " + strings.Join(v.reasons, ", ")
	}
	return d.Lacking(v.name+"@"+digests[0].String(), errors.New(why))
}

// signer is the key that made sig over message, or nil.
func (v *verifier) signer(message, sig []byte) *Key {
	for _, key := range v.keys {
		if key.verify(message, sig) {
			return key
		}
	}
	return nil
}

// VerifyFile says whether an ACI of that name may be used: sig is the detached OpenPGP signature that came with it, nil
// if none did. Subject, the digest of what is signed, goes into the record.
func VerifyFile(p *trust.Policy, name string, signed io.Reader, sig []byte, subject digest.Digest) (image.Evidence, error) {
	d := p.For(name)
	if err := d.Refusal(name); err != nil {
		return image.Evidence{}, err
	}
	now := time.Now()
	if d.Require == trust.Digest {
		return image.Evidence{Rule: d.Rule, Time: now.UTC()}, nil
	}
	if sig == nil {
		return image.Evidence{}, d.Lacking(name, errors.New("no signature (.asc) came with it"))
	}
	keys, err := readKeys(d)
	if err != nil {
		return image.Evidence{}, err
	}
	key, err := findSigner(keys, signed, sig, now)
	if errors.Is(err, errSignature) {
		return image.Evidence{}, d.Lacking(name, err)
	}
	if err != nil {
		return image.Evidence{}, err
	}
	return image.Evidence{Rule: d.Rule, Format: FormatOpenPGP, Key: key.Fingerprint, Subject: subject.String(), Time: now.UTC()}, nil
}

// findSigner reads signed once for each OpenPGP key, if it can be rewound, until one made sig.
func findSigner(keys []*Key, signed io.Reader, sig []byte, now time.Time) (*Key, error) {
	err := fmt.Errorf("%w: no OpenPGP key is trusted for the name", errSignature)
	for _, key := range keys {
		if key.entity == nil {
			continue
		}
		if s, ok := signed.(io.Seeker); ok {
			if _, err := s.Seek(0, io.SeekStart); err != nil {
				return nil, err
			}
		}
		if err = key.verifyOpenPGP(signed, sig, now); err == nil {
			return key, nil
		}
	}
	return nil, err
}
