package signature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"path/filepath"

	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/gantryrun/gantry/image/trust"
)

// Key is a public key that signatures may be checked with: one of cosign's (PEM), or an OpenPGP key.
type Key struct {
	trust.Key
	public crypto.PublicKey // of a PEM key
	entity *openpgp.Entity  // of an OpenPGP key
}

// minRSA is the shortest RSA key that is accepted, in bits, of either kind.
const minRSA = 2048

// ParseKey reads a file with exactly one public key. Files with several are refused, because a review that looks at the
// first trusts the others unseen; so are secret keys, certificates, and algorithms below the floor.
func ParseKey(data []byte) (*Key, error) {
	var key *Key
	var err error
	switch trimmed := bytes.TrimSpace(data); {
	case len(trimmed) == 0:
		err = fmt.Errorf("%w: empty", trust.ErrKey)
	case bytes.HasPrefix(trimmed, []byte("-----BEGIN PGP")), trimmed[0]&0x80 != 0: // every OpenPGP packet has that bit
		key, err = parseOpenPGP(data)
	default:
		key, err = parsePEM(trimmed)
	}
	if err != nil {
		return nil, err
	}
	key.Data = bytes.Clone(data)
	return key, nil
}

func parsePEM(data []byte) (*Key, error) {
	block, rest := pem.Decode(data)
	switch {
	case block == nil || !bytes.HasPrefix(data, []byte("-----BEGIN ")):
		return nil, fmt.Errorf("%w: neither PEM nor OpenPGP", trust.ErrKey)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, fmt.Errorf("%w: something follows the first key in the file: one key per file", trust.ErrKey)
	case block.Type != "PUBLIC KEY" || len(block.Headers) > 0:
		return nil, fmt.Errorf("%w: PEM block %q: want PUBLIC KEY, as cosign public-key prints it", trust.ErrKey, block.Type)
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", trust.ErrKey, err)
	}
	sum := sha256.Sum256(block.Bytes)
	key := &Key{Key: trust.Key{Fingerprint: hex.EncodeToString(sum[:])}, public: public}
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return nil, fmt.Errorf("%w: curve %s: want P-256 or P-384", trust.ErrKey, k.Curve.Params().Name)
		}
		key.Kind = "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		key.Kind = "Ed25519"
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSA {
			return nil, fmt.Errorf("%w: RSA of %d bits: want %d or more", trust.ErrKey, k.N.BitLen(), minRSA)
		}
		key.Kind = fmt.Sprintf("RSA %d", k.N.BitLen())
	default:
		return nil, fmt.Errorf("%w: algorithm %T", trust.ErrKey, public)
	}
	return key, nil
}

// verify says whether sig is this PEM key's signature over message, in the way in which cosign signs with such a key.
// (ECDSA P-384: with SHA-384, or SHA-256 as older versions did.)
func (k *Key) verify(message, sig []byte) bool {
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		for _, h := range hashesOf(public) {
			sum := h.New()
			sum.Write(message)
			if ecdsa.VerifyASN1(public, sum.Sum(nil), sig) {
				return true
			}
		}
		return false
	case ed25519.PublicKey:
		return ed25519.Verify(public, message, sig)
	case *rsa.PublicKey:
		sum := sha256.Sum256(message)
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], sig) == nil
	default:
		return false
	}
}

func hashesOf(k *ecdsa.PublicKey) []crypto.Hash {
	if k.Curve == elliptic.P384() {
		return []crypto.Hash{crypto.SHA384, crypto.SHA256}
	}
	return []crypto.Hash{crypto.SHA256}
}

// readKeys reads the keys that a decision counts on.
func readKeys(d trust.Decision) ([]*Key, error) {
	var list []*Key
	for _, path := range d.Keys {
		key, err := readKey(path)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", trust.ErrConfig, err)
		}
		list = append(list, key)
	}
	return list, nil
}

func readKey(path string) (*Key, error) {
	data, err := trust.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if key.Fingerprint != filepath.Base(path) {
		return nil, fmt.Errorf("%s holds another key: %s", path, key.Fingerprint)
	}
	return key, nil
}
