package cli

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/pods/printable"
	"github.com/gantryrun/gantry/tests/build"
)

// gantry runs one command line with a data directory and configuration of its own.
func gantry(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	fetchProgram(t)
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	errs, err := os.Create(filepath.Join(dir, "err"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	defer errs.Close()
	none := filepath.Join(dir, "none")
	global := []string{"--dir=" + filepath.Join(dir, "data"), "--system-config=" + none, "--local-config=" + none, "--user-config=" + none}
	code = Main(append(global, args...), os.Stdin, out, errs)
	return read(t, out), read(t, errs), code
}

// fetchProgram puts gantry-fetch beside gantry, which the test program is here.
func fetchProgram(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	err = os.Symlink(filepath.Join(build.Dir(t), order.Program), filepath.Join(filepath.Dir(self), order.Program))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
}

func read(t *testing.T, f *os.File) string {
	t.Helper()
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestRefusals: one line that names the verb and the reason, code 254, nothing on stdout.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct{ line, want, kind string }{
		{"frobnicate", `gantry: unknown command "frobnicate"`, kindUsage},
		{"attach x", "gantry: attach: no such pod", kindNotFound},
		{"app add --bogus", "gantry: app add: want a pod and an image", kindUsage},
		{"image frobnicate", `gantry: image: unknown command "frobnicate"`, kindUsage},
		{"app frobnicate", `gantry: app: unknown command "frobnicate"`, kindUsage},
		{"systemd frobnicate", `gantry: systemd: unknown command "frobnicate"`, kindUsage},
		{"help frobnicate", `gantry: help: unknown command "frobnicate"`, kindUsage},
		{"help image frobnicate", `gantry: help: unknown command "frobnicate"`, kindUsage},
		{"help list x", `gantry: help: unknown command "x"`, kindUsage},
		{"completion frobnicate", `gantry: completion: "frobnicate": want bash, zsh or fish`, kindUsage},
		{"completion", "gantry: completion: too few arguments", kindUsage},
		{"app add", "gantry: app add: want a pod and an image", kindUsage},
		{"run -h web image", "gantry: run: -h asks for help: write it alone; the pod's host name is --hostname=NAME", kindUsage},
		{"app sandbox --pod-manifest=x", "gantry: app sandbox: --pod-manifest: a sandbox has no apps", kindUsage},
		{"app sandbox --hostname=", "gantry: app sandbox: --hostname: the value is empty", kindUsage},
		{"run --stop-timeout=1s --slice= image", "gantry: run: --slice: the value is empty", kindUsage},
		{"top pod", `gantry: unknown command "top"`, kindUsage},
		{"--dir= list", "gantry: list: --dir: the value is empty", kindUsage},
		{"list --filter=", "gantry: list: --filter: ", kindUsage},
		{"kill -s FOO x", "gantry: kill: --signal: unknown signal", kindUsage},
		{"inspect -f {{.State}} x", `gantry: inspect: --format: "{{.State}}": want json`, kindUsage},
		{"run-prepared --hostname=x/ y", "hostname \"x/\"", kindUsage},
		{"gc --grace-period=9999999999999999999", "of 100 years at most", kindUsage},
		{"--nosuch list", "gantry: list: unknown flag: --nosuch", kindUsage},
		{"list --bogus", "gantry: list: unknown flag: --bogus", kindUsage},
		{"list extra", "gantry: list: ", kindUsage},
		{"list --fields=x", "there is no field", kindUsage},
		{"list --filter=x", "want state=", kindUsage},
		{"list --format=yaml", `--format: "yaml": want text or json`, kindUsage},
		{"status", "gantry: status: no pod given", kindUsage},
		{"status nobody", `gantry: status: no such pod: "nobody"`, kindNotFound},
		{"status a b", "gantry: status: one pod wanted, 2 given", kindUsage},
		{"status --wait=soon x", "want a duration", kindUsage},
		{"status --uuid-file=/nowhere", "gantry: status: --uuid-file: read UUID", kindInternal},
		{"logs nobody", "no such pod", kindNotFound},
		{"wait nobody", "no such pod", kindNotFound},
		{"stop nobody other", `no such pod: "nobody"; no such pod: "other"`, kindNotFound},
		{"kill --signal=SIGFOO x", "unknown signal", kindUsage},
		{"fetch", "gantry: fetch: too few arguments: 0, want 1", kindUsage},
		{"fetch UPPER/x", "gantry: fetch: parse image reference", kindUsage},
		{"fetch --signature=x y", "--signature: it is for one appc image", kindUsage},
		{"fetch oci:/nowhere", "gantry: fetch: oci:/nowhere: ", ""},
		{"image inspect nothing", "gantry: image inspect: image not found", kindNotFound},
		{"gc --grace-period=often", "--grace-period", kindUsage},
		{"--log-format=xml list", "--log-format=xml: want text or json", kindUsage},
		{"--insecure-options=wifi list", "--insecure-options", kindUsage},
		{"--store=zfs list", "--store=zfs", kindUsage},
	} {
		t.Run(tt.line, func(t *testing.T) {
			stdout, stderr, code := gantry(t, strings.Fields(tt.line)...)
			first, rest, _ := strings.Cut(stderr, "\n")
			if code != 254 || stdout != "" || !strings.Contains(first, tt.want) || !strings.HasPrefix(first, "gantry: ") {
				t.Errorf("code %d\nstdout %q\nstderr %q\nwant %q", code, stdout, stderr, tt.want)
			}
			if rest != "" && (!strings.HasPrefix(rest, "gantry: hint: ") || strings.Count(rest, "\n") != 1) {
				t.Errorf("after the first line: %q", rest)
			}
			if tt.kind == "" || strings.Contains(tt.line, "--log-format") {
				return
			}
			_, stderr, _ = gantry(t, append([]string{"--log-format=json"}, strings.Fields(tt.line)...)...)
			var said struct{ Level, Verb, Kind, Message, Hint string }
			if err := json.Unmarshal([]byte(stderr), &said); err != nil || said.Kind != tt.kind || said.Message == "" {
				t.Errorf("as JSON: %q %v, want kind %s", stderr, err, tt.kind)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	for line, want := range map[string]string{
		"":                                   "Usage:",
		"help":                               "Usage:",
		"run --help":                         "Flags of an app, after its image:",
		"enter --help":                       "--app",
		"list":                               "UUID",
		"ps --no-legend":                     "",
		"list --format=json":                 "[]\n",
		"image list":                         "ID",
		"image list --format=json":           "[]\n",
		"version":                            "gantry ",
		"version --format=json":              `"modules"`,
		"config":                             `"stage0"`,
		"completion bash":                    "gantry",
		"completion zsh":                     "#compdef gantry",
		"completion fish":                    "complete -c gantry",
		"help image list":                    "--sort",
		"image":                              "cat-manifest",
		"--version":                          "gantry ",
		"--full --no-legend list":            "",
		"--pretty-print=false config":        `{"directories":[`,
		"ps -aq --no-trunc -f state=running": "",
		"image list --fields=id,latest --sort=name,size --order=desc": "LATEST",
		"fetch --quiet --help":           "--platform",
		"--insecure-options=none list":   "UUID",
		"list --fields=uuid,state":       "UUID",
		"list --filter=state=running":    "UUID",
		"--log-format=json --debug list": "UUID",
	} {
		stdout, stderr, code := gantry(t, strings.Fields(line)...)
		if code != 0 || !strings.Contains(stdout, want) || stderr != "" || strings.Contains(stdout, "  gantry [command]") {
			t.Errorf("%q: code %d\nstdout %.200q\nstderr %q", line, code, stdout, stderr)
		}
	}
}

// TestOneVerb: whoever calls a verb, by any of its names, gets the command, and pays for no other.
func TestOneVerb(t *testing.T) {
	for _, cmd := range wholeTree().Commands() {
		for _, name := range append(cmd.Aliases, cmd.Name()) {
			e := &env{insecure: insecure{}}
			root := newRoot(e)
			addVerbs(root, e, name)
			if got := root.Commands(); len(got) != 1 || got[0].Name() != cmd.Name() {
				t.Errorf("%s: %d commands", name, len(got))
			}
		}
	}
}

// TestInsecureOptions: one warning for each check that is off, once, wherever the flag stands.
func TestInsecureOptions(t *testing.T) {
	_, stderr, _ := gantry(t, "--insecure-options=seccomp,image", "list")
	if strings.Count(stderr, "\n") != 2 || !strings.Contains(stderr, "gantry: warning: --insecure-options=seccomp: ") {
		t.Errorf("before the verb: %q", stderr)
	}
	for _, args := range [][]string{{"--insecure-options=seccomp", "run", "--bogus"}, {"run", "--insecure-options=seccomp", "UPPER/x"}} {
		if _, stderr, _ := gantry(t, args...); strings.Count(stderr, "warning") != 1 {
			t.Errorf("%v: %q", args, stderr)
		}
	}
	in := insecure{}
	if err := in.add("all-run"); err != nil || !in["paths"] || in["image"] {
		t.Errorf("all-run: %v %v", in, err)
	}
}

// TestForeignText: escape sequences of strangers do not reach the terminal (ATTACKS F13).
func TestForeignText(t *testing.T) {
	for in, want := range map[string]string{
		"plain – ünïcode\ttab": "plain – ünïcode\ttab", "\x1b[31mred": `\x1b[31mred`, "a\rb\x07": `a\rb\a`, "\u202eevil": `\u202eevil`,
		"bad\xff": `bad\xff`, "two\nlines": `two\nlines`, "\u009b1m": `\u009b1m`,
	} {
		if got := printable.Text(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
	_, stderr, _ := gantry(t, "status", "\x1b]0;title\x07")
	if strings.ContainsAny(stderr, "\x1b\x07") {
		t.Errorf("raw: %q", stderr)
	}
	_, stderr, _ = gantry(t, "\x1b[2J")
	if strings.ContainsAny(stderr, "\x1b") {
		t.Errorf("raw: %q", stderr)
	}
}

func TestKinds(t *testing.T) {
	for _, tt := range []struct {
		err  error
		kind string
	}{
		{unix.ENOSPC, kindNoSpace}, {errors.Join(errors.New("x"), pods.ErrNameTaken), kindBusy}, {image.ErrCorrupt, kindUnverified},
		{errors.New("x"), kindInternal}, {image.ErrAmbiguous, kindUsage}, {image.ErrConfig, kindConfig}, {image.ErrBlocked, kindConfig},
	} {
		if got := kindOf(tt.err); got != tt.kind {
			t.Errorf("%v: %s", tt.err, got)
		}
	}
}

// TestVerbOnce: a line says what was to be done once, also if it failed for several.
func TestVerbOnce(t *testing.T) {
	var buf strings.Builder
	report(&buf, "text", "fetch", errors.Join(errors.New("fetch a: no"), errors.New("fetch b: no")))
	if want := "gantry: fetch: a: no; b: no\n"; buf.String() != want {
		t.Errorf("%q, want %q", buf.String(), want)
	}
}

// TestPanic: a bug of ours is 254 and a request to report it, not Go's 2.
func TestPanic(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	code := guard(w, func() int { panic("broken \x1b") })
	_ = w.Close()
	data, _ := io.ReadAll(r)
	if code != 254 || !strings.HasPrefix(string(data), `gantry: internal error: broken \x1b: please report`) {
		t.Errorf("%d %q", code, data)
	}
}

// TestDistance: the flag that was meant is named.
func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"hostnam", "hostname", 1}, {"memroy", "memory", 2}, {"abc", "xyz", 3}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("%s %s: %d", tt.a, tt.b, got)
		}
	}
}
