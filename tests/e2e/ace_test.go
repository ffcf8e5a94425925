package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha512"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/tests/box"
)

// aceEnv names the directory of the validator's ACIs, for the test process in the box, which has no network to build them with.
const aceEnv = "GANTRY_TEST_ACE"

// TestACEValidator runs the pod with which appc's specification checks executors: main, with hooks, and a side-kick that meets it on a
// shared volume. All that it asks for is there but the metadata service, which gantry has not: main says so, and nothing else.
func TestACEValidator(t *testing.T) {
	if os.Getenv(aceEnv) == "" {
		dir := t.TempDir()
		buildValidator(t, dir)
		t.Setenv(aceEnv, dir)
	}
	if !box.Enter(t) {
		return
	}
	dir := os.Getenv(aceEnv)
	archives := map[string]string{"main": filepath.Join(dir, "ace-validator-main.aci"), "sidekick": filepath.Join(dir, "ace-validator-sidekick.aci")}
	t.Run("by command line", func(t *testing.T) {
		h := newHost(t)
		checkValidator(t, h, "run", "--net=none", "--volume=database,kind=empty", archives["main"], "--essential=false", archives["sidekick"])
	})
	t.Run("by pod manifest", func(t *testing.T) {
		h := newHost(t)
		var apps []string
		for _, kind := range []string{"main", "sidekick"} {
			h.must(t, "fetch", archives[kind])
			apps = append(apps, fmt.Sprintf(`{"name":"ace-validator-%s","image":{"name":"coreos.com/ace-validator-%s","id":%q}}`, kind, kind, archiveID(t, archives[kind])))
		}
		slices.Reverse(apps) // the first that ends with an error decides: let the side-kick have seen main
		manifest := filepath.Join(t.TempDir(), "pod.json")
		text := fmt.Sprintf(`{"acKind":"PodManifest","acVersion":"0.8.11","apps":[%s],"volumes":[{"name":"database","kind":"empty"}]}`, strings.Join(apps, ","))
		if err := os.WriteFile(manifest, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, stdout, stderr := h.run(t, "run", "--net=none", "--pod-manifest="+manifest)
		mainOutput(t, stdout, stderr)
		h.check(t)
	})
}

func checkValidator(t *testing.T, h *host, args ...string) {
	t.Helper()
	code, stdout, stderr := h.run(t, args...)
	if code != 0 || !strings.Contains(stdout, "ace-validator-sidekick: sidekick OK") {
		t.Errorf("side-kick: exit code %d\n%s%s", code, stdout, stderr)
	}
	mainOutput(t, stdout, stderr)
	h.check(t)
}

// finding is what the validator says of one thing that is wrong.
var finding = regexp.MustCompile(`==> .*`)

func mainOutput(t *testing.T, stdout, stderr string) {
	t.Helper()
	for _, want := range []string{"prestart OK", "main FAIL", "poststop OK"} {
		if !strings.Contains(stdout, "ace-validator-main: "+want+"\n") {
			t.Errorf("want %q of the validator:\n%s%s", want, stdout, stderr)
		}
	}
	if found := finding.FindAllString(stderr, -1); !slices.Equal(found, []string{"==> AC_METADATA_URL is not set"}) {
		t.Errorf("the validator finds %q", found)
	}
}

// buildValidator builds the ACIs from the module that testdata/ace pins, as that module's own script does.
func buildValidator(t *testing.T, dir string) {
	t.Helper()
	module := func(args ...string) string {
		cmd := exec.Command("go", args...)
		cmd.Dir = "testdata/ace"
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
		out, err := cmd.Output()
		if err != nil {
			var stderr []byte
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				stderr = exit.Stderr
			}
			if args[0] == "mod" {
				t.Skipf("the module proxy does not give appc's validator: %v\n%s", err, stderr)
			}
			t.Fatalf("go %v: %v\n%s", args, err, stderr)
		}
		return strings.TrimSpace(string(out))
	}
	module("mod", "download")
	program := filepath.Join(dir, "ace-validator")
	module("build", "-o", program, "github.com/appc/spec/ace")
	source := module("list", "-m", "-f", "{{.Dir}}", "github.com/appc/spec")
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	arch := map[string]string{"amd64": "amd64", "arm64": "aarch64"}[runtime.GOARCH]
	for _, kind := range []string{"main", "sidekick"} {
		manifest, err := os.ReadFile(filepath.Join(source, "ace", "image_manifest_"+kind+".json.in"))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("@ACI_OS@", "linux", "@ACI_ARCH@", arch).Replace(string(manifest))
		if err := os.WriteFile(filepath.Join(dir, "ace-validator-"+kind+".aci"), validatorArchive(t, text, content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func validatorArchive(t *testing.T, manifest string, program []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(h *tar.Header, content []byte) {
		h.Size = int64(len(content))
		err := w.WriteHeader(h)
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add(&tar.Header{Name: "manifest", Typeflag: tar.TypeReg, Mode: 0o644}, []byte(manifest))
	for _, d := range []string{"rootfs", "rootfs/opt", "rootfs/opt/acvalidator"} {
		add(&tar.Header{Name: d, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	add(&tar.Header{Name: "rootfs/ace-validator", Typeflag: tar.TypeReg, Mode: 0o755}, program)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func archiveID(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("sha512-%x", sha512.Sum512(data))
}
