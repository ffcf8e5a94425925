package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantryrun/gantry/image"
)

// helpers puts a directory of docker-credential-NAME scripts first into PATH: name, body, name, body... What they
// are asked is appended to the file returned.
func helpers(t *testing.T, scripts ...string) (asked string) {
	t.Helper()
	dir := t.TempDir()
	asked = filepath.Join(dir, "asked")
	for i := 0; i < len(scripts); i += 2 {
		script := fmt.Sprintf("#!/bin/sh\nread server || true\necho \"%s $1 $server\" >>%s\n%s\n", scripts[i], asked, scripts[i+1])
		if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+scripts[i]), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return asked
}

func TestHelpers(t *testing.T) {
	own := endpoint{host: "reg.example:5000", repository: "team/app"}
	hub := endpoint{host: "docker.io", repository: "library/nginx"}
	for name, tc := range map[string]struct {
		docker string // config of docker's, or podman's
		ours   string // of auth.d
		at     endpoint
		asked  string
		want   string // user:password, or the identity token
		err    string
	}{
		"for the host":      {`{"credHelpers":{"reg.example:5000":"good"}}`, "", own, "good get reg.example:5000\n", "u:s3cret", ""},
		"for another host":  {`{"credHelpers":{"reg.example":"good"}}`, "", own, "", ":", ""},
		"for all":           {`{"credsStore":"good"}`, "", own, "good get reg.example:5000\n", "u:s3cret", ""},
		"docker's own":      {`{"credsStore":"good"}`, "", hub, "good get https://index.docker.io/v1/\n", "u:s3cret", ""},
		"host before all":   {`{"credHelpers":{"reg.example:5000":"token"},"credsStore":"good"}`, "", own, "token get reg.example:5000\n", "t0ken", ""},
		"written before":    {`{"auths":{"reg.example:5000":{"username":"a","password":"b"}},"credsStore":"good"}`, "", own, "", "a:b", ""},
		"empty entry":       {`{"auths":{"reg.example:5000":{}},"credsStore":"good"}`, "", own, "good get reg.example:5000\n", "u:s3cret", ""},
		"knows none":        {`{"credsStore":"none"}`, "", own, "none get reg.example:5000\n", ":", ""},
		"all, not there":    {`{"credsStore":"absent"}`, "", own, "", ":", ""},
		"host, not there":   {`{"credHelpers":{"reg.example:5000":"absent"}}`, "", own, "", "", "executable file not found"},
		"leads out of PATH": {`{"credHelpers":{"reg.example:5000":"/../good"}}`, "", own, "", "", "a name of letters"},
		"fails":             {`{"credsStore":"fails"}`, "", own, "fails get reg.example:5000\n", "", "exit status 3"},
		"no JSON":           {`{"credsStore":"text"}`, "", own, "text get reg.example:5000\n", "", "its answer is not"},
		"without end":       {`{"credsStore":"endless"}`, "", own, "endless get reg.example:5000\n", "", "more than 65536 bytes"},
		"auth.d":            {`{"credsStore":"token"}`, `"type":"helper","credentials":{"helper":"good"}`, own, "good get reg.example:5000\n", "u:s3cret", ""},
		"auth.d, elsewhere": {`{}`, `"type":"helper","credentials":{"helper":"good"}`, hub, "", ":", ""},
		"auth.d, no name":   {`{}`, `"type":"helper","credentials":{}`, own, "", "", "helper with helper"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := helpers(t, "good", `echo '{"ServerURL":"x","Username":"u","Secret":"s3cret"}'`,
				"token", `echo '{"Username":"<token>","Secret":"t0ken"}'`, "none", `echo credentials not found in native keychain; exit 1`,
				"fails", `echo s3cret; exit 3`, "text", `echo s3cret`, "endless", `exec cat /dev/zero`)
			path := filepath.Join(t.TempDir(), "config.json")
			if err := os.WriteFile(path, []byte(tc.docker), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("REGISTRY_AUTH_FILE", path)
			c := &Client{}
			if tc.ours != "" {
				c.ConfigDirs = []string{configDir(t, "auth.d/x.json", `{"kind":"auth","version":"v1","domains":["reg.example:5000"],`+tc.ours+`}`)}
			}
			auth, err := c.credentials(t.Context(), tc.at)
			if tc.err != "" {
				if !errors.Is(err, image.ErrConfig) || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("got %v", err)
				}
			} else if err != nil {
				t.Fatal(err)
			} else if config, err := auth.Authorization(); err != nil || (config.Username+":"+config.Password != tc.want && config.IdentityToken != tc.want) {
				t.Errorf("%+v, %v", config, err)
			}
			if got, _ := os.ReadFile(asked); string(got) != tc.asked {
				t.Errorf("asked %q, want %q", got, tc.asked)
			}
		})
	}
}

// TestHelperHangs: when the fetch is called off, the helper and its children go with it.
func TestHelperHangs(t *testing.T) {
	asked := helpers(t, "hangs", "sleep 600 & echo $! >$(dirname $0)/child; wait")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := askHelper(ctx, "hangs", endpoint{host: "reg.example"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	pid, err := os.ReadFile(filepath.Join(filepath.Dir(asked), "child"))
	if err != nil {
		t.Fatal(err)
	}
	var stat []byte
	for range 200 { // it was killed, and dies when it gets a processor
		stat, err = os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("its child lives: %s", stat)
}
