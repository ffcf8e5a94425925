package hostile

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/tests/craft"
)

// prefixes is T1: a key is for exactly the names below its prefix, by whole components. The images have no signature:
// one that comes in was not covered.
func prefixes() (all []attack) {
	for _, c := range []struct{ scope, repository, refuse string }{
		{"/team", "team", "signature"}, {"/team", "team/app", "signature"}, {"/team", "team/app/x", "signature"}, {"/team/app", "team/app", "signature"}, {"", "anything", "signature"},
		{"/team", "team-evil", ""}, {"/team", "team2", ""}, {"/team", "team_x/app", ""}, {"/team", "tea", ""}, {"/team", "x/team", ""}, {"/team", "team.evil/app", ""}, {"/team/app", "team", ""}, {"/team/app", "team/app2", ""},
		{"/team", "Team/app", "hostile"}, {"/team", "team//app", "hostile"}, {"/team", "team/../team/app", "hostile"}, {"/team", "./team/app", "hostile"}, {"/team", "team/app/..", "hostile"}, {"/team", "te%61m/app", "hostile"}, {"/team", "team/app/", "hostile"},
	} {
		refuse := c.refuse
		if refuse == "hostile" {
			refuse = c.repository // the error quotes what was typed
		}
		all = append(all, attack{name: "key for " + c.scope + ", image " + c.repository, row: "T1", precedent: "rkt key store", refuse: refuse, prepare: func(k *kit) []string {
			k.site.Put(c.repository, "1", plain())
			return []string{"fetch", k.trusting(k.addr()+c.scope, craft.NewSigner().PublicPEM()), k.addr() + "/" + c.repository + ":1"}
		}})
	}
	for name, host := range map[string]string{
		"a dot at the end": "127.0.0.1.", "an address written short": "127.1", "a number": "2130706433", "hexadecimal": "0x7f.0.0.1", "zeros": "127.000.0.1", "a port with a zero": "127.0.0.1:0443", "a user": "user@127.0.0.1", "IPv6 that is IPv4": "[::ffff:127.0.0.1]",
	} {
		all = append(all, attack{name: "the host as " + name, row: "T1", precedent: "rkt key store", refuse: "fetch", prepare: func(k *kit) []string {
			return []string{"fetch", k.trusting("127.0.0.1", craft.NewSigner().PublicPEM()), host + "/team/app:1"}
		}})
	}
	return all
}

// signed serves an image as hostile:1 that a new key is wanted for, and lets put sign it.
func signed(put func(k *kit, s craft.Signer, subject, name string)) func(*kit) []string {
	return func(k *kit) []string {
		s, img := craft.NewSigner(), plain()
		args := k.put(img)
		put(k, s, img.Digest(), k.addr()+"/hostile")
		return append(args, k.trusting(k.addr(), s.PublicPEM()))
	}
}

// moved is T2: the right key, for the wrong thing.
func moved() []attack {
	other := digest.FromString("other").String()
	simple := func(k *kit, s craft.Signer, subject, text string) {
		k.site.Simple("hostile", subject, text, s.Sign(text))
	}
	t2 := func(name, refuse string, put func(k *kit, s craft.Signer, subject, name string)) attack {
		return attack{name: name, row: "T2", precedent: "containers/image signedIdentity", refuse: refuse, prepare: signed(put)}
	}
	return []attack{
		t2("as it should be", "", func(k *kit, s craft.Signer, subject, name string) {
			simple(k, s, subject, craft.GoodSimple(name, subject))
		}),
		t2("bundle as it should be", "", func(k *kit, s craft.Signer, subject, _ string) {
			k.site.Referrer("hostile", subject, s.Bundle(craft.Statement(subject)))
		}),
		t2("signature of another digest", "signature", func(k *kit, s craft.Signer, subject, name string) {
			simple(k, s, subject, craft.GoodSimple(name, other))
		}),
		t2("signature of a sibling's name", "another name", func(k *kit, s craft.Signer, subject, name string) {
			simple(k, s, subject, craft.GoodSimple(name+"2", subject))
		}),
		t2("signature of a parent's name", "another name", func(k *kit, s craft.Signer, subject, name string) {
			simple(k, s, subject, craft.GoodSimple(strings.TrimSuffix(name, "/hostile"), subject))
		}),
		t2("signature of another host's name", "another name", func(k *kit, s craft.Signer, subject, name string) {
			simple(k, s, subject, craft.GoodSimple("evil.example/hostile", subject))
		}),
		t2("bundle of another digest", "signature", func(k *kit, s craft.Signer, subject, _ string) {
			k.site.Referrer("hostile", subject, s.Bundle(craft.Statement(other)))
		}),
		t2("signature by another key", "not trusted", func(k *kit, _ craft.Signer, subject, name string) {
			simple(k, craft.NewSigner(), subject, craft.GoodSimple(name, subject))
		}),
		{name: "the manifest is another when asked again", row: "T2", precedent: "CVE-2021-41190", prepare: func(k *kit) []string {
			evil, asked := plain("evil", "x"), 0
			args := signed(func(k *kit, s craft.Signer, subject, name string) {
				simple(k, s, subject, craft.GoodSimple(name, subject))
			})(k)
			for d, data := range evil.Blobs {
				k.site.Blob("hostile", d, data)
			}
			k.site.Hook(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/manifests/1") {
					return false
				}
				if asked++; asked == 1 {
					return false
				}
				w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
				_, _ = w.Write(evil.Manifest)
				return true
			})
			return args
		}, after: func(k *kit, r result) {
			if !strings.Contains(r.stdout, plain().Digest()) {
				k.Errorf("fetched %s", r.stdout)
			}
		}},
	}
}

// mutations is T4: one thing is wrong with a signature that is good otherwise.
func mutations() (all []attack) {
	bundle := func(name, precedent string, change func(good string) string) {
		all = append(all, attack{name: "bundle: " + name, row: "T4", precedent: precedent, refuse: "signature", prepare: signed(func(k *kit, s craft.Signer, subject, _ string) {
			good := s.Bundle(craft.Statement(subject))
			bad := change(good)
			if bad == good {
				k.Fatal("nothing was changed")
			}
			k.site.Referrer("hostile", subject, bad)
		})})
	}
	statement := func(name, old, replaced string) {
		all = append(all, attack{name: "statement: " + name, row: "T4", precedent: "CVE-2022-36056", refuse: "signature", prepare: signed(func(k *kit, s craft.Signer, subject, _ string) {
			good := craft.Statement(subject)
			bad := strings.Replace(good, old, replaced, 1)
			if bad == good {
				k.Fatal("nothing was changed")
			}
			k.site.Referrer("hostile", subject, s.Bundle(bad))
		})})
	}
	simple := func(name, precedent string, change func(text, sig string, s craft.Signer) (string, string)) {
		all = append(all, attack{name: "simple: " + name, row: "T4", precedent: precedent, refuse: "signature", prepare: signed(func(k *kit, s craft.Signer, subject, name string) {
			good := craft.GoodSimple(name, subject)
			text, sig := change(good, s.Sign(good), s)
			k.site.Simple("hostile", subject, text, sig)
		})})
	}
	replace := func(old, replaced string) func(string) string {
		return func(s string) string { return strings.Replace(s, old, replaced, 1) }
	}
	bundle("a certificate in the key's place", "GHSA-fx35", replace(`"publicKey":{"hint":"x"}`, `"certificate":{"rawBytes":"AAAA"}`))
	bundle("a key and a certificate", "GHSA-fx35", replace(`"publicKey":{"hint":"x"}`, `"publicKey":{"hint":"x"},"certificate":{"rawBytes":"AAAA"}`))
	bundle("a chain", "CVE-2026-24122", replace(`"publicKey":{"hint":"x"}`, `"x509CertificateChain":{"certificates":[]}`))
	bundle("nobody", "GHSA-fx35", replace(`"publicKey":{"hint":"x"}`, ``))
	bundle("no envelope", "CVE-2022-36056", replace(`"dsseEnvelope"`, `"messageSignature"`))
	bundle("two signatures", "GHSA-9vcr", replace(`"signatures":[`, `"signatures":[{"sig":"AAAA"},`))
	bundle("another payload type", "CVE-2022-36056", replace(`vnd.in-toto+json"`, `vnd.other+json"`))
	bundle("a version to come", "CVE-2022-36056", replace("v0.3+json", "v0.9+json"))
	bundle("a field twice", "CVE-2022-36056", replace(`"dsseEnvelope":`, `"dsseEnvelope":{},"dsseEnvelope":`))
	bundle("a field in two cases", "CVE-2022-36056", replace(`"dsseEnvelope":`, `"DsseEnvelope":{},"dsseEnvelope":`))
	bundle("bytes behind it", "CVE-2022-36056", func(s string) string { return s + "{}" })
	bundle("cut", "CVE-2022-36056", func(s string) string { return s[:len(s)/2] })
	bundle("nothing", "CVE-2022-36056", func(string) string { return "" })
	bundle("nested without end", "CVE-2022-36056", func(s string) string { return strings.TrimSuffix(s, "}") + `,"x":` + strings.Repeat("[", 10_000) })
	statement("another type", "Statement/v1", "Statement/v9")
	statement("another predicate", "cosign/sign/v1", "cosign/other/v1")
	statement("no subject", `"subject":[{`, `"subjects":[{`)
	statement("two subjects, one right", `"subject":[{`, `"subject":[{"digest":{"sha256":"`+digest.FromString("x").Encoded()+`"}},{`)
	statement("another algorithm", `{"sha256":`, `{"sha512":`)
	simple("no signature", "CVE-2022-36056", func(text, _ string, _ craft.Signer) (string, string) { return text, "" })
	simple("signature that is no base64", "CVE-2022-36056", func(text, _ string, _ craft.Signer) (string, string) { return text, "***" })
	simple("signature of other bytes", "CVE-2026-22703", func(text, _ string, s craft.Signer) (string, string) { return text, s.Sign(text + " ") })
	simple("payload changed", "CVE-2026-22703", func(text, sig string, _ craft.Signer) (string, string) {
		return strings.Replace(text, "null", "true", 1), sig
	})
	for name, change := range map[string]func(string) string{
		"field twice": replace(`"critical":`, `"critical":{},"critical":`), "field in two cases": replace(`"critical":`, `"Critical":{},"critical":`),
		"another type": replace("cosign container image signature", "atomic container signature"), "bytes behind it": func(s string) string { return s + "{}" },
		"unknown field": replace(`"optional":`, `"x":1,"optional":`), "no JSON": func(string) string { return "signed" },
	} {
		simple(name+", signed", "CVE-2022-36056", func(text, _ string, s craft.Signer) (string, string) { bad := change(text); return bad, s.Sign(bad) })
	}
	return all
}

// rollbacks is T5: a tag that leads back.
func rollbacks() (all []attack) {
	for _, c := range []struct {
		name   string
		way    []int // versions, one fetch each; the last is the attack
		flags  []string
		refuse string
	}{
		{"back to the first", []int{1, 2, 1}, nil, "rollback"}, {"back by two", []int{1, 2, 3, 1}, nil, "rollback"}, {"back and forth", []int{1, 2, 3, 2}, nil, "rollback"},
		{"back, as the user says", []int{1, 2, 1}, []string{"--allow-rollback"}, ""}, {"forward", []int{1, 2, 3}, nil, ""},
	} {
		all = append(all, attack{name: c.name, row: "T5", precedent: "TUF rollback attack", refuse: c.refuse, prepare: func(k *kit) []string {
			versions := []*craft.Image{plain("v", "1"), plain("v", "2"), plain("v", "3")}
			s := craft.NewSigner()
			trusted := k.trusting(k.addr(), s.PublicPEM())
			for i, v := range c.way {
				img := versions[v-1]
				k.put(img)
				text := craft.GoodSimple(k.addr()+"/hostile", img.Digest())
				k.site.Simple("hostile", img.Digest(), text, s.Sign(text))
				if i < len(c.way)-1 {
					k.must(k.T, "fetch", trusted, k.ref())
				}
			}
			return append([]string{"fetch", trusted, k.ref()}, c.flags...)
		}, after: func(k *kit, r result) {
			if c.refuse != "" && strings.Count(r.stderr, "sha256:") < 2 {
				k.Errorf("the error does not show both digests: %s", r.stderr)
			}
			if c.refuse != "" {
				k.harmless(k) // what came in before
			}
		}})
	}
	return all
}

// evidence is T6: what came in unverified is asked about again.
func evidence() []attack {
	later := func(name string, insecure []string, change func(k *kit, s craft.Signer) string, verb ...string) attack {
		return attack{name: name, row: "T6", precedent: "ATTACKS T6: evidence per name", refuse: "not trusted", prepare: func(k *kit) []string {
			s := craft.NewSigner()
			k.running(nil, nil, []string{"true"})
			k.must(k.T, append([]string{"fetch", k.ref()}, insecure...)...)
			return append(append(verb, change(k, s)), "--pull-policy=never", k.ref())
		}, after: func(k *kit, _ result) {
			k.must(k.T, "gc", "--grace-period=0s", "--expire-prepared=0s")
			k.harmless(k)
		}}
	}
	key := func(k *kit, s craft.Signer) string { return k.trusting(k.addr(), s.PublicPEM()) }
	rule := func(k *kit, _ craft.Signer) string {
		return k.config("trust.d/a.json", `{"kind":"trust","version":"v1","rules":[{"prefix":"`+k.addr()+`","require":"signed"}]}`)
	}
	return []attack{
		later("fetched before there was a key, then run", nil, key, "run", "--net=none"),
		later("fetched insecurely, then prepared", []string{"--insecure-options=image"}, key, "prepare"),
		later("fetched before there was a rule, then run", nil, rule, "run", "--net=none"),
		{name: "https is closed, http listens", row: "T6", precedent: "ATTACKS T6: https->http fallback", refuse: "registry unreachable", prepare: func(k *kit) []string {
			k.put(plain())
			return []string{"fetch", strings.Replace(k.ref(), "127.0.0.1", "localhost.localdomain", 1)}
		}, after: func(k *kit, _ result) {
			if n := len(k.site.Seen("")); n > 0 {
				k.Errorf("%d requests in plain", n)
			}
		}},
		{name: "insecure for one registry is not for another", row: "T6", precedent: "ATTACKS T6: flags per registry", refuse: "registry unreachable", prepare: func(k *kit) []string {
			k.put(plain())
			return []string{"fetch", k.config("registries.d/a.json", `{"kind":"registries","version":"v1","registries":[{"prefix":"reg.example","insecure":true}]}`), strings.Replace(k.ref(), "127.0.0.1", "localhost.localdomain", 1)}
		}, after: func(k *kit, _ result) {
			if n := len(k.site.Seen("")); n > 0 {
				k.Errorf("%d requests in plain", n)
			}
		}},
		{name: "a key that cannot be read is no hole", row: "T6", precedent: "ATTACKS T6: fail open", refuse: "trust", prepare: func(k *kit) []string {
			return append(k.put(plain()), k.config("trust.d/a.json", `{"kind":"trust","version":"v1","default":"rejekt"}`))
		}},
	}
}

// rot is T7: what is stored is no longer what it was. verify names the file, and its repair makes it whole.
func rot() (all []attack) {
	for name, where := range map[string]string{
		"layer": "layers/*/tar", "layer's index": "layers/*/index", "merged index": "images/*/index", "manifest and config": "blobs/sha256/*",
	} {
		for how, harm := range map[string]func(data []byte) []byte{
			"a bit":   func(data []byte) []byte { return changed(data, len(data)/2) },
			"cut":     func(data []byte) []byte { return data[:len(data)/2] },
			"emptied": func([]byte) []byte { return nil },
			"longer":  func(data []byte) []byte { return append(data, 0) },
		} {
			all = append(all, attack{name: name + ", " + how, row: "T7", precedent: "containerd STORE-005", prepare: func(k *kit) []string {
				standing := map[string]bool{}
				before, _ := filepath.Glob(filepath.Join(k.dir, where))
				for _, p := range before {
					standing[p] = true
				}
				k.put(plain())
				k.must(k.T, "fetch", k.ref())
				k.rotten = nil
				after, _ := filepath.Glob(filepath.Join(k.dir, where))
				for _, p := range after {
					if !standing[p] {
						data, err := os.ReadFile(p)
						if err == nil {
							err = os.WriteFile(p, harm(data), 0o400)
						}
						if err != nil {
							k.Fatal(err)
						}
						k.rotten = append(k.rotten, p)
					}
				}
				r := k.host.run(k.T, "image", "verify", k.ref())
				for _, p := range k.rotten {
					if r.code == 0 || !strings.Contains(r.stdout+r.stderr, p) {
						k.Errorf("verify does not name %s: %d %s%s", p, r.code, r.stdout, r.stderr)
					}
				}
				return []string{"image", "verify", "--repair", k.ref()}
			}})
		}
	}
	return all
}
