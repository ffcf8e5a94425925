package signature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"github.com/opencontainers/go-digest"

	"github.com/gantryrun/gantry/image/trust"
)

func TestParseKeyRefuses(t *testing.T) {
	good := ecdsaSigner(t, elliptic.P256(), crypto.SHA256).key.Data
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GODEBUG", "rsa1024min=0")
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	pgp := serialize(t, newEntity(t, nil), false)
	secret := serialize(t, newEntity(t, nil), true)
	weak := serialize(t, newEntity(t, &packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 1024}), false)
	past := func() time.Time { return time.Now().Add(-48 * time.Hour) }
	expired := serialize(t, newEntity(t, &packet.Config{Time: past, KeyLifetimeSecs: 3600}), false)
	gone := newEntity(t, nil)
	if err := gone.Revoke(packet.KeyCompromised, "", nil); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty":              nil,
		"text":               []byte("key"),
		"two PEM keys":       append(bytes.Clone(good), good...),
		"text after":         append(bytes.Clone(good), "x"...),
		"text before":        append([]byte("x\n"), good...),
		"certificate":        pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}),
		"private key":        pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}),
		"garbage in PEM":     pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}),
		"P-521":              publicPEM(t, p521.Public()),
		"RSA 1024":           publicPEM(t, short.Public()),
		"two OpenPGP keys":   append(bytes.Clone(pgp), serialize(t, newEntity(t, nil), false)...),
		"two armored keys":   []byte(armored(t, pgp) + "\n" + armored(t, pgp)),
		"text before armor":  []byte("fingerprint: 0\n" + armored(t, pgp)),
		"secret OpenPGP key": secret,
		"OpenPGP RSA 1024":   weak,
		"expired":            expired,
		"revoked":            serialize(t, gone, false),
		"OpenPGP cut":        pgp[:len(pgp)-5],
	} {
		t.Run(name, func(t *testing.T) {
			if key, err := ParseKey(data); !errors.Is(err, trust.ErrKey) {
				t.Errorf("got %+v, %v", key, err)
			}
		})
	}
	for name, data := range map[string][]byte{"PEM": good, "OpenPGP": pgp, "armored": []byte(armored(t, pgp))} {
		if key, err := ParseKey(data); err != nil || !trust.IsFingerprint(key.Fingerprint) {
			t.Errorf("%s: %+v, %v", name, key, err)
		}
	}
}

func newEntity(t testing.TB, config *packet.Config) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity("Jane", "", "jane@example.com", config)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func serialize(t testing.TB, e *openpgp.Entity, secret bool) []byte {
	t.Helper()
	var buf bytes.Buffer
	var err error
	if secret {
		err = e.SerializePrivate(&buf, nil)
	} else {
		err = e.Serialize(&buf)
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func armored(t testing.TB, raw []byte) string {
	t.Helper()
	var buf bytes.Buffer
	w, err := armor.Encode(&buf, openpgp.PublicKeyType, nil)
	if err == nil {
		_, err = w.Write(raw)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func detached(t testing.TB, e *openpgp.Entity, message string, config *packet.Config) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&buf, []*openpgp.Entity{e}, strings.NewReader(message), &openpgp.SignParams{Config: config}); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestVerifyFile(t *testing.T) {
	const message = "the bytes of an archive"
	morning := &packet.Config{Time: func() time.Time { return time.Now().Add(-3 * time.Hour) }}
	e, other := newEntity(t, morning), newEntity(t, nil)
	key, err := ParseKey(serialize(t, e, false))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := ParseKey(serialize(t, other, false))
	if err != nil {
		t.Fatal(err)
	}
	p := trusting(t, "example.com/app", key, ecdsaSigner(t, elliptic.P256(), crypto.SHA256).key)
	verify := func(p *trust.Policy, name, message string, sig []byte) error {
		evidence, err := VerifyFile(p, name, strings.NewReader(message), sig, digest.FromString(message))
		if err == nil && evidence.Format == FormatOpenPGP && evidence.Key != key.Fingerprint {
			t.Errorf("evidence is %+v", evidence)
		}
		return err
	}
	sig := detached(t, e, message, nil)
	if err := verify(p, "example.com/app/x", message, sig); err != nil {
		t.Errorf("good signature: %v", err)
	}
	if err := verify(p, "example.com/other", message, nil); err != nil {
		t.Errorf("nothing asked of that name: %v", err)
	}
	two := trusting(t, "example.com/app", stranger, key)
	if err := verify(two, "example.com/app", message, sig); err != nil {
		t.Errorf("the second of two keys: %v", err)
	}
	old := &packet.Config{Time: func() time.Time { return time.Now().Add(-2 * time.Hour) }, SigLifetimeSecs: 60}
	for name, tc := range map[string]struct {
		message string
		sig     []byte
	}{
		"no signature":        {message, nil},
		"other bytes":         {message + "x", sig},
		"fewer bytes":         {message[1:], sig},
		"other key":           {message, detached(t, other, message, nil)},
		"empty":               {message, []byte{}},
		"text":                {message, []byte("signed")},
		"two signatures":      {message, append(bytes.Clone(sig), sig...)},
		"key as signature":    {message, serialize(t, e, false)},
		"text before":         {message, append([]byte("x\n"), sig...)},
		"signature cut":       {message, bytes.Replace(sig, []byte("\n"), []byte("\nAAAA"), 3)},
		"signature expired":   {message, detached(t, e, message, old)},
		"signature of future": {message, detached(t, e, message, &packet.Config{Time: func() time.Time { return time.Now().Add(48 * time.Hour) }})},
		"nothing in armor":    {message, []byte("-----BEGIN PGP SIGNATURE-----\n\n=\n-----END PGP SIGNATURE-----\n")},
	} {
		t.Run(name, func(t *testing.T) {
			if err := verify(p, "example.com/app", tc.message, tc.sig); !errors.Is(err, trust.ErrUntrusted) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestGPG: keys and signatures of the program that people use get the verdict of the policy.
func TestGPG(t *testing.T) {
	gpg, err := exec.LookPath("gpg")
	if err != nil {
		t.Skipf("no gpg: %v", err)
	}
	home := filepath.Join(t.TempDir(), "gpg")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(home, "file")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), gpg, append([]string{"--homedir", home, "--batch", "--yes", "--quiet", "--passphrase", ""}, args...)...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			t.Fatalf("gpg %v: %v\n%s", args, err, errs.String())
		}
		return out.Bytes()
	}
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "gpg-agent").Run() //nolint:noctx // after the test
	})
	content := func() io.Reader { return strings.NewReader("content") }
	for _, tc := range []struct {
		name, algorithm, usage string
		sign                   []string
		keyOK, sigOK           bool
	}{
		{"ed25519", "ed25519", "sign", nil, true, true},
		{"nistp256", "nistp256", "sign", nil, true, true},
		{"rsa2048", "rsa2048", "sign", nil, true, true},
		{"sha512", "ed25519", "sign", []string{"--digest-algo", "SHA512"}, true, true},
		{"binary", "ed25519", "sign", []string{"--no-armor"}, true, true},
		{"sha1", "rsa2048", "sign", []string{"--digest-algo", "SHA1"}, true, false},
		{"text mode", "ed25519", "sign", []string{"--textmode"}, true, false},
		{"rsa1024", "rsa1024", "sign", nil, false, false},
		{"dsa2048", "dsa2048", "sign", nil, false, false},
		{"certify only", "ed25519", "cert", nil, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			id := strings.ReplaceAll(tc.name, " ", "-") + "@example.com"
			run("--quick-generate-key", id, tc.algorithm, tc.usage, "never")
			key, err := ParseKey(run("--armor", "--export", id))
			if (err == nil) != tc.keyOK {
				t.Fatalf("key: %v", err)
			}
			if err != nil {
				return
			}
			args := append([]string{"--local-user", id, "--armor", "--output", "-"}, tc.sign...)
			sig := run(append(args, "--detach-sign", file)...)
			if err := key.verifyOpenPGP(content(), sig, time.Now()); (err == nil) != tc.sigOK {
				t.Errorf("signature: %v", err)
			}
		})
	}
	t.Run("two keys", func(t *testing.T) {
		if _, err := ParseKey(run("--armor", "--export", "ed25519@example.com", "nistp256@example.com")); !errors.Is(err, trust.ErrKey) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("expired later", func(t *testing.T) {
		run("--quick-generate-key", "short@example.com", "ed25519", "sign", "1d")
		key, err := ParseKey(run("--export", "short@example.com"))
		if err != nil {
			t.Fatal(err)
		}
		sig := run("--local-user", "short@example.com", "--output", "-", "--detach-sign", file)
		if err := key.verifyOpenPGP(content(), sig, time.Now()); err != nil {
			t.Errorf("today: %v", err)
		}
		if err := key.verifyOpenPGP(content(), sig, time.Now().Add(48*time.Hour)); !errors.Is(err, errSignature) {
			t.Errorf("in two days: %v", err)
		}
	})
}

// TestOtherKey: a file that holds another key than its name says is a broken configuration.
func TestOtherKey(t *testing.T) {
	key := keyFile(t, "testdata/cosign/k1.pub").Key
	key.Fingerprint = strings.Repeat("a", 64)
	dir := t.TempDir()
	if _, err := trust.Add(dir, "registry.example", key); err != nil {
		t.Fatal(err)
	}
	p, err := trust.Load([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), p, newRepo(), testName, subject); !errors.Is(err, trust.ErrConfig) {
		t.Errorf("got %v", err)
	}
}

func FuzzPayload(f *testing.F) {
	f.Add([]byte(simpleText(testName, subject.String(), simplePayload)))
	f.Add([]byte(statementText(statementType, predicateType, testHex)))
	f.Add([]byte(envelope(payloadType, "{}", []byte("x"))))
	v := &verifier{name: testName}
	f.Fuzz(func(t *testing.T, data []byte) {
		if v.checkPayload(data, subject) == nil && !strings.Contains(string(data), testHex[:8]) && !strings.Contains(string(data), `\u`) {
			t.Errorf("accepted %q", data)
		}
		if checkStatement(data, subject) == nil && !strings.Contains(string(data), testHex[:8]) && !strings.Contains(string(data), `\u`) {
			t.Errorf("accepted %q", data)
		}
		if key, err := v.bundle(data, subject); err == nil {
			t.Errorf("accepted by %v", key)
		}
	})
}
