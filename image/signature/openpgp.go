package signature

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/gantryrun/gantry/image/trust"
)

// OpenPGP's packets (RFC 9580, section 5).
const (
	tagSignature    = 2
	tagSecretKey    = 5
	tagPublicKey    = 6
	tagSecretSubkey = 7
	tagUserID       = 13
	tagPublicSubkey = 14
	tagUserAttr     = 17
)

// floor of algorithms, for keys, what binds their parts, and signatures.
func floor() *packet.Config {
	weak := map[crypto.Hash]bool{crypto.MD5: true, crypto.SHA1: true, crypto.RIPEMD160: true}
	return &packet.Config{
		MinRSABits: minRSA, RejectHashAlgorithms: weak, RejectMessageHashAlgorithms: weak,
		RejectPublicKeyAlgorithms: map[packet.PublicKeyAlgorithm]bool{packet.PubKeyAlgoElGamal: true, packet.PubKeyAlgoDSA: true},
	}
}

// parseOpenPGP reads one public key, armored or not.
func parseOpenPGP(data []byte) (*Key, error) {
	raw, err := dearmor(data, openpgp.PublicKeyType)
	if err != nil {
		return nil, err
	}
	if err := checkPackets(raw, 1, tagPublicKey, tagPublicSubkey, tagSignature, tagUserID, tagUserAttr); err != nil {
		return nil, err
	}
	list, err := openpgp.ReadKeyRing(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", trust.ErrKey, err)
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("%w: %d keys in one file", trust.ErrKey, len(list))
	}
	entity := list[0]
	if _, ok := entity.SigningKey(time.Now(), floor()); !ok {
		return nil, fmt.Errorf("%w: OpenPGP key %X: no part of it may sign now: expired, revoked, or too weak (SHA-1, RSA below %d bits, DSA)",
			trust.ErrKey, entity.PrimaryKey.Fingerprint, minRSA)
	}
	kind := "OpenPGP"
	if _, id := entity.PrimaryIdentity(time.Now(), floor()); id != nil {
		kind += " " + id.Name
	}
	return &Key{Key: trust.Key{Fingerprint: hex.EncodeToString(entity.PrimaryKey.Fingerprint), Kind: kind}, entity: entity}, nil
}

// maxKey bounds what is unpacked of an armored block.
const maxKey = 1 << 20

// dearmor returns the packets in data, which is binary or one armored block with nothing around it.
func dearmor(data []byte, blockType string) ([]byte, error) {
	trimmed := bytes.TrimSpace(data)
	if len(trimmed) > 0 && trimmed[0]&0x80 != 0 {
		return data, nil
	}
	if !bytes.HasPrefix(trimmed, []byte("-----BEGIN ")) || bytes.Count(trimmed, []byte("-----BEGIN ")) != 1 {
		return nil, fmt.Errorf("%w: want one OpenPGP block and nothing else in the file", trust.ErrKey)
	}
	if end := "-----END " + blockType + "-----"; !bytes.HasSuffix(trimmed, []byte(end)) {
		return nil, fmt.Errorf("%w: want a block that ends with %s", trust.ErrKey, end)
	}
	block, err := armor.Decode(bytes.NewReader(trimmed))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", trust.ErrKey, err)
	}
	raw, err := io.ReadAll(io.LimitReader(block.Body, maxKey))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", trust.ErrKey, err)
	}
	return raw, nil
}

// checkPackets refuses packets of other kinds than the allowed, of which the first is to be there exactly want times.
// The library skips what it does not know: a second key of an algorithm of tomorrow would be there unseen.
func checkPackets(raw []byte, want int, allowed ...uint8) error {
	count := 0
	for r := packet.NewOpaqueReader(bytes.NewReader(raw)); ; {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		switch {
		case err != nil:
			return fmt.Errorf("%w: %w", trust.ErrKey, err)
		case p.Tag == tagSecretKey || p.Tag == tagSecretSubkey:
			return fmt.Errorf("%w: this is a secret key: export the public one", trust.ErrKey)
		case !slices.Contains(allowed, p.Tag):
			return fmt.Errorf("%w: OpenPGP packet of kind %d", trust.ErrKey, p.Tag)
		case p.Tag == allowed[0]:
			count++
		}
	}
	if count != want {
		return fmt.Errorf("%w: %d of them in one file: want %d", trust.ErrKey, count, want)
	}
	return nil
}

// errSignature: a signature that does not count.
var errSignature = errors.New("signature does not count")

// verifyOpenPGP says whether sig, a file with one detached signature, is by this key over the bytes of signed. The key
// must have been good then and be so now: whoever has stolen an expired key can date signatures back.
func (k *Key) verifyOpenPGP(signed io.Reader, sig []byte, now time.Time) error {
	raw, err := dearmor(sig, openpgp.SignatureType)
	if err == nil {
		err = checkPackets(raw, 1, tagSignature)
	}
	if err != nil {
		return fmt.Errorf("%w: %s", errSignature, strings.TrimPrefix(err.Error(), trust.ErrKey.Error()+": "))
	}
	config := floor()
	config.Time = func() time.Time { return now }
	md, err := openpgp.VerifyDetachedSignatureReader(openpgp.EntityList{k.entity}, signed, bytes.NewReader(raw), config)
	if err != nil {
		return fmt.Errorf("%w: %w", errSignature, err)
	}
	if _, err := io.Copy(io.Discard, md.UnverifiedBody); err != nil {
		return fmt.Errorf("read what is signed: %w", err)
	}
	if md.SignatureError != nil || md.SignedBy == nil || md.Signature == nil {
		return fmt.Errorf("%w: %w", errSignature, cmpErr(md.SignatureError))
	}
	if kind := md.Signature.SigType; kind != packet.SigTypeBinary {
		return fmt.Errorf("%w: of type %d, not over a file's bytes", errSignature, kind)
	}
	if md.Signature.CreationTime.After(now.Add(time.Hour)) {
		return fmt.Errorf("%w: made in the future, at %s", errSignature, md.Signature.CreationTime)
	}
	if _, err := k.entity.VerifyPrimaryKey(now, config); err != nil {
		return fmt.Errorf("%w: %w", errSignature, err)
	}
	for i := range k.entity.Subkeys {
		if sub := &k.entity.Subkeys[i]; sub.PublicKey.KeyId == md.SignedBy.PublicKey.KeyId {
			if _, err := sub.Verify(now, config); err != nil {
				return fmt.Errorf("%w: %w", errSignature, err)
			}
		}
	}
	return nil
}

func cmpErr(err error) error {
	if err == nil {
		return errors.New("by another key")
	}
	return err
}
