package hostile

import (
	"bytes"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/gantryrun/gantry/tests/craft"
)

// entity is an OpenPGP key.
func entity(k *kit, config *packet.Config) *openpgp.Entity {
	k.Helper()
	e, err := openpgp.NewEntity("Jane", "", "jane@example.com", config)
	if err != nil {
		k.Fatal(err)
	}
	return e
}

func public(k *kit, e *openpgp.Entity) []byte {
	k.Helper()
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		k.Fatal(err)
	}
	return b.Bytes()
}

func detached(k *kit, e *openpgp.Entity, message []byte, config *packet.Config) []byte {
	k.Helper()
	var b bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&b, []*openpgp.Entity{e}, bytes.NewReader(message), &openpgp.SignParams{Config: config}); err != nil {
		k.Fatal(err)
	}
	return b.Bytes()
}

func at(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }

// openPGP is T3: signatures beside appc archives, and keys.
func openPGP() (all []attack) {
	signature := func(name, refuse string, sign func(k *kit, e *openpgp.Entity, archive []byte) []byte) {
		all = append(all, attack{name: "signature: " + name, row: "T3", precedent: "CVE-2018-12020", refuse: refuse, prepare: func(k *kit) []string {
			e := entity(k, &packet.Config{Time: at(-3 * time.Hour)})
			archive := craft.Gzip(aci(aciManifest("example.com/x", ""), craft.File("rootfs/a", "a")))
			path := k.file("x.aci", archive)
			if sig := sign(k, e, archive); sig != nil {
				k.file("x.aci.asc", sig)
			}
			return []string{"fetch", k.trusting("", public(k, e)), "--platform=linux/amd64", path}
		}})
	}
	good := func(k *kit, e *openpgp.Entity, archive []byte) []byte { return detached(k, e, archive, nil) }
	signature("as it should be", "", good)
	signature("none", "signature", func(*kit, *openpgp.Entity, []byte) []byte { return nil })
	signature("empty", "signature", func(*kit, *openpgp.Entity, []byte) []byte { return []byte{} })
	signature("of other bytes", "signature", func(k *kit, e *openpgp.Entity, archive []byte) []byte {
		return detached(k, e, append(archive, 0), nil)
	})
	signature("by another key", "signature", func(k *kit, _ *openpgp.Entity, archive []byte) []byte {
		return detached(k, entity(k, nil), archive, nil)
	})
	signature("twice", "signature", func(k *kit, e *openpgp.Entity, archive []byte) []byte {
		sig := good(k, e, archive)
		return append(bytes.Clone(sig), sig...)
	})
	signature("a good one behind a bad one", "signature", func(k *kit, e *openpgp.Entity, archive []byte) []byte {
		return append(detached(k, entity(k, nil), archive, nil), good(k, e, archive)...)
	})
	signature("behind text", "signature", func(k *kit, e *openpgp.Entity, archive []byte) []byte {
		return append([]byte("x\n"), good(k, e, archive)...)
	})
	signature("is a key", "signature", func(k *kit, e *openpgp.Entity, _ []byte) []byte { return public(k, e) })
	signature("is text", "signature", func(*kit, *openpgp.Entity, []byte) []byte { return []byte("signed") })
	signature("expired", "signature", func(k *kit, e *openpgp.Entity, archive []byte) []byte {
		return detached(k, e, archive, &packet.Config{Time: at(-2 * time.Hour), SigLifetimeSecs: 60})
	})
	signature("of tomorrow", "signature", func(k *kit, e *openpgp.Entity, archive []byte) []byte {
		return detached(k, e, archive, &packet.Config{Time: at(48 * time.Hour)})
	})
	signature("of a megabyte", "signature", func(*kit, *openpgp.Entity, []byte) []byte { return bytes.Repeat([]byte("A"), 1<<20) })
	key := func(name string, make func(k *kit) []byte) {
		all = append(all, attack{name: "key: " + name, row: "T3", precedent: "rkt entityList[0]", refuse: "key", prepare: func(k *kit) []string {
			return []string{"trust", "--skip-fingerprint-review", k.config("empty", ""), "--prefix=example.com", k.file("key", make(k))}
		}, after: func(k *kit, _ result) {
			if out := k.must(k.T, "trust", "--list", "--local-config="+k.tmp+"/config"); strings.Contains(out, "example.com") {
				k.Errorf("the key is trusted: %s", out)
			}
		}})
	}
	key("two in a file", func(k *kit) []byte { return append(public(k, entity(k, nil)), public(k, entity(k, nil))...) })
	key("expired", func(k *kit) []byte {
		return public(k, entity(k, &packet.Config{Time: at(-48 * time.Hour), KeyLifetimeSecs: 3600}))
	})
	key("RSA of 1024 bits", func(k *kit) []byte {
		return public(k, entity(k, &packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 1024}))
	})
	key("revoked", func(k *kit) []byte {
		e := entity(k, nil)
		if err := e.Revoke(packet.KeyCompromised, "", nil); err != nil {
			k.Fatal(err)
		}
		return public(k, e)
	})
	key("secret", func(k *kit) []byte {
		var b bytes.Buffer
		if err := entity(k, nil).SerializePrivate(&b, nil); err != nil {
			k.Fatal(err)
		}
		return b.Bytes()
	})
	key("two PEM keys", func(*kit) []byte { return append(craft.NewSigner().PublicPEM(), craft.NewSigner().PublicPEM()...) })
	key("cut", func(k *kit) []byte { p := public(k, entity(k, nil)); return p[:len(p)-5] })
	key("text before", func(*kit) []byte { return append([]byte("fingerprint: 0\n"), craft.NewSigner().PublicPEM()...) })
	return all
}
