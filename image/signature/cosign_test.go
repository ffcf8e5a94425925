package signature

import (
	"errors"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/image/trust"
)

// TestFixtures: every image that the real cosign signed, in both formats, gets its verdict.
func TestFixtures(t *testing.T) {
	repos, tags := fixtures(t)
	k1 := keyFile(t, "testdata/cosign/k1.pub")
	p := trusting(t, "registry.example/prod", k1)
	for _, tc := range []struct {
		image, format, says string
	}{
		{"prod/app:1", FormatSimple, ""},
		{"prod/app:2", "", "by a key that is not trusted"},
		{"prod/bundle:1", FormatBundle, ""},
		{"prod/bundle:2", "", "by a key that is not trusted"},
		{"prod/copied:1", "", `for another name, "registry.example/dev/app"`},
		{"prod/unsigned:1", "", "it has no signature"},
	} {
		t.Run(tc.image, func(t *testing.T) {
			repository, _, _ := strings.Cut(tc.image, ":")
			subject := tags[tc.image]
			evidence, err := Verify(t.Context(), p, repos[repository], "registry.example/"+repository, subject)
			if tc.format == "" {
				if !errors.Is(err, trust.ErrUntrusted) || !strings.Contains(err.Error(), tc.says) {
					t.Fatalf("got %+v, %v; want trust.ErrUntrusted with %q", evidence, err, tc.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if evidence.Format != tc.format || evidence.Key != k1.Fingerprint || evidence.Subject != subject.String() ||
				evidence.Rule != "registry.example/prod" || evidence.Time.IsZero() {
				t.Errorf("evidence is %+v", evidence)
			}
		})
	}
	t.Run("dev/app:1", func(t *testing.T) {
		evidence, err := Verify(t.Context(), p, repos["dev/app"], "registry.example/dev/app", tags["dev/app:1"])
		if err != nil || evidence.Rule != "default" || evidence.String() != "digest" {
			t.Errorf("no policy covers it: got %+v, %v", evidence, err)
		}
	})
}

// TestFixturesElsewhere: a good signature says nothing of another digest, another name, or under another key.
func TestFixturesElsewhere(t *testing.T) {
	repos, tags := fixtures(t)
	k1, k2 := keyFile(t, "testdata/cosign/k1.pub"), keyFile(t, "testdata/cosign/k2.pub")
	both := trusting(t, "registry.example/prod", k1, k2)
	for _, name := range []string{"prod/app:1", "prod/app:2", "prod/bundle:1", "prod/bundle:2"} {
		repository, _, _ := strings.Cut(name, ":")
		if _, err := Verify(t.Context(), both, repos[repository], "registry.example/"+repository, tags[name]); err != nil {
			t.Errorf("%s, both keys trusted: %v", name, err)
		}
	}
	for _, tc := range []struct{ what, name, of, under string }{
		{"simple, as another repository", "registry.example/prod/other", "prod/app", "prod/app:1"},
		{"simple, signature of another image moved", "registry.example/prod/app", "prod/app", "moved"},
		{"bundle, referrers of another image moved", "registry.example/prod/bundle", "prod/bundle", "moved bundle"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			r, subject := repos[tc.of].clone(), tags[tc.under]
			switch tc.under {
			case "moved":
				subject = tags["prod/unsigned:1"]
				r.manifests[signatureTag(subject)] = r.manifests[signatureTag(tags["prod/app:1"])]
			case "moved bundle":
				subject = tags["prod/unsigned:1"]
				r.manifests["sha256-"+subject.Encoded()] = r.manifests["sha256-"+tags["prod/bundle:1"].Encoded()]
			}
			if evidence, err := Verify(t.Context(), both, r, tc.name, subject); !errors.Is(err, trust.ErrUntrusted) {
				t.Errorf("accepted: %+v, %v", evidence, err)
			}
		})
	}
}
