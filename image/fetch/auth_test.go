package fetch

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// authFile has the test's credentials found, and no other.
func authFile(t *testing.T, key, user, secret string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth.json")
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))
	if err := os.WriteFile(path, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}},"credsStore":"ignored"}`, key, auth), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("REGISTRY_AUTH_FILE", path)
}

func TestCredentials(t *testing.T) {
	hub := endpoint{host: "docker.io", repository: "library/nginx"}
	own := endpoint{host: "reg.example:5000", repository: "team/app"}
	for name, tc := range map[string]struct {
		key   string
		at    endpoint
		found bool
	}{
		"host":               {"reg.example:5000", own, true},
		"path":               {"reg.example:5000/team", own, true},
		"whole path":         {"reg.example:5000/team/app", own, true},
		"part of a name":     {"reg.example:5000/te", own, false},
		"other port":         {"reg.example", own, false},
		"other host":         {"reg.example:5000.evil", own, false},
		"docker's own key":   {"https://index.docker.io/v1/", hub, true},
		"docker's elsewhere": {"https://index.docker.io/v1/", own, false},
	} {
		t.Run(name, func(t *testing.T) {
			authFile(t, tc.key, "user", "secret")
			auth, err := (&Client{}).credentials(t.Context(), tc.at)
			if err != nil {
				t.Fatal(err)
			}
			config, err := auth.Authorization()
			if err != nil || (config.Password == "secret") != tc.found {
				t.Errorf("got %+v, %v", config, err)
			}
		})
	}
}
