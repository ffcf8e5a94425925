package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/await"
)

func TestFlagName(t *testing.T) {
	for key, want := range map[string]string{
		"Net": "net", "SetEnv": "set-env", "DNS": "dns", "DNSSearch": "dns-search", "CPUShares": "cpu-shares", "UUIDFileSave": "uuid-file-save",
		"SupplementaryGids": "supplementary-gids", "OOMScoreAdj": "oom-score-adj", "set-env": "set-env", "PodName": "pod-name",
	} {
		if got := flagName(key); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "": `""`, "a b": `"a b"`, `say "x"`: `"say \"x\""`, `a\b`: `"a\\b"`, "--env=X=${Y}%i": "--env=X=${Y}%i", "a\nb": `"a\nb"`, ";": `";"`,
	} {
		if got := Quote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestPodFile(t *testing.T) {
	text := "[Pod]\nNet=none\n# a comment\nSetEnv=A=b c\n[App web]\nImage=reg.example/web:1\nMemory=10Mi\nArgs=serve \\\n  --port=80\n[App side]\nImage=x\n" +
		"[Service]\nRestart=always\n[Install]\nWantedBy=multi-user.target\n"
	f, err := parsePodFile(text)
	if err != nil {
		t.Fatal(err)
	}
	want := `--uuid-file-save=%t/gantry/%N.uuid --net=none "--set-env=A=b c" reg.example/web:1 --name=web --memory=10Mi -- serve  --port=80 --- x --name=side`
	if diff := cmp.Diff(want, strings.Join(f.run(), " ")); diff != "" {
		t.Error(diff)
	}
	for name, text := range map[string]string{
		"a comment that ends in an escape": "[Pod]\n# net \\\nNet=none\n[App a]\nImage=x\n",
		"a comment between":                "[Pod]\nNet=\\\n# a comment\n; another \\\nnone\n[App a]\nImage=x\n",
		"two that are one":                 "[Pod]\nNet=none\n[App a]\nImage=x\nArgs=a\\\\\n",
	} {
		f, err := parsePodFile(text)
		if err != nil || !strings.Contains(strings.Join(f.run(), " "), "--net=none x --name=a") {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	for name, text := range map[string]string{
		"no app":         "[Pod]\nNet=none\n",
		"no image":       "[App a]\nMemory=1\n",
		"no section":     "Net=none\n",
		"unknown":        "[Podd]\n",
		"not closed":     "[Pod\n",
		"no value":       "[Pod]\nNet\n",
		"ours":           "[App a]\nImage=x\n[Service]\nExecStart=/bin/true\n",
		"app, no name":   "[App ]\nImage=x\n",
		"twice":          "[App a]\nImage=x\n[App b]\nImage=x\n[App a]\nImage=x\n",
		"detached":       "[Pod]\nDetach=true\n[App a]\nImage=x\n",
		"its own file":   "[Pod]\nUUIDFileSave=/x\n[App a]\nImage=x\n",
		"another name":   "[App a]\nImage=x\nName=b\n",
		"ends in escape": `[Pod]` + "\n" + `Net=none\`,
	} {
		if _, err := parsePodFile(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzPodFile(f *testing.F) {
	f.Add("[Pod]\nNet=none\n[App a]\nImage=x\nArgs=a \\\n b\n[Install]\nWantedBy=x\n")
	f.Fuzz(func(t *testing.T, text string) {
		pod, err := parsePodFile(text)
		if err != nil {
			return
		}
		unit := Unit{Run: pod.run(), Unit: pod.unit, Service: pod.service, Install: pod.install}.String()
		if n := strings.Count("\n"+unit, "\nExecStart="); n != 1 {
			t.Errorf("%d lines of ExecStart in\n%s", n, unit)
		}
	})
}

// A broken file breaks only itself; links are as systemctl enable makes them.
func TestGenerate(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	const app = "[App a]\nImage=x\n[Install]\nWantedBy=multi-user.target\nAlias=other.service\n"
	for name, text := range map[string]string{"web.pod": app, "broken.pod": "nonsense", "t@.pod": app, "d@.pod": app + "DefaultInstance=one\n", "README": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := Generate(dir, out, "/usr/bin/gantry"); err == nil || !strings.Contains(err.Error(), "broken.pod: line 1") {
		t.Errorf("error: %v", err)
	}
	var got []string
	for _, pattern := range []string{"*", "*/*"} {
		names, _ := filepath.Glob(filepath.Join(out, pattern))
		for _, n := range names {
			rel, _ := filepath.Rel(out, n)
			if to, err := os.Readlink(n); err == nil {
				rel += " -> " + to
			}
			got = append(got, rel)
		}
	}
	want := []string{
		"d@.service", "multi-user.target.wants", "other.service -> d@.service", "t@.service", "web.service",
		"multi-user.target.wants/d@one.service -> ../d@.service", "multi-user.target.wants/web.service -> ../web.service",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Whatever lies in the directory holds no boot up, and no other pod.
func TestGenerateHostile(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(filepath.Join(dir, "good.pod"), []byte("[App a]\nImage=x\n"), 0o644))
	must(unix.Mkfifo(filepath.Join(dir, "fifo.pod"), 0o644))
	must(os.Mkdir(filepath.Join(dir, "dir.pod"), 0o755))
	must(os.Symlink("nowhere", filepath.Join(dir, "dangling.pod")))
	must(os.WriteFile(filepath.Join(dir, "binary.pod"), []byte("[App a]\nImage=\xff\x00\n"), 0o644))
	must(os.WriteFile(filepath.Join(dir, "sp ace.pod"), []byte("[App a]\nImage=x\n"), 0o644))
	must(os.WriteFile(filepath.Join(dir, "@.pod"), []byte("[App a]\nImage=x\n"), 0o644))
	must(os.WriteFile(filepath.Join(dir, "mark.pod"), []byte("\ufeff[App a]\r\nImage=x\r\n"), 0o644))
	must(os.WriteFile(filepath.Join(dir, "way.pod"), []byte("[App a]\nImage=x\n[Install]\nWantedBy=../../etc/x.target\nAlias=../up.service\n"), 0o644))
	done := make(chan error, 1)
	go func() { done <- Generate(dir, out, "/usr/bin/gantry") }()
	select {
	case err := <-done:
		for _, name := range []string{"fifo.pod", "dir.pod", "dangling.pod", "binary.pod", "sp ace.pod", "@.pod"} {
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("nothing is said of %s: %v", name, err)
			}
		}
	case <-time.After(await.Patience):
		t.Fatal("it waits")
	}
	for _, name := range []string{"good.service", "mark.service", "way.service", "x.target.wants/way.service", "up.service"} {
		if _, err := os.Lstat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
	if err := Generate(dir, filepath.Join(out, "missing"), "/usr/bin/gantry"); err == nil {
		t.Error("a missing directory is no error")
	}
}

// The example of the man page is a pod file, and what it says of gantry's own lines is so.
func TestManPage(t *testing.T) {
	data, err := os.ReadFile("../../packaging/man/gantry-pod.5")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.ReplaceAll(string(data), `\-`, "-")
	_, example, _ := strings.Cut(page, "\n.EX\n")
	example, _, _ = strings.Cut(example, "\n.EE\n")
	pod, err := parsePodFile(example)
	if err != nil {
		t.Fatal(err)
	}
	unit := Unit{Run: pod.run(), Unit: pod.unit, Service: pod.service, Install: pod.install}.String()
	for _, want := range []string{"--ready=tcp:80", `-- nginx -g "daemon off;"`, "\nAfter=db.service data.mount\n", "\nWatchdogSec=30\n"} {
		if !strings.Contains(unit, want) {
			t.Errorf("the example gives no %q:\n%s", want, unit)
		}
	}
	_, ours, _ := strings.Cut(Unit{}.String(), "[Service]\n")
	for line := range strings.Lines(ours) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key == "ExecStart" || key == "ExecStopPost" {
			value = ""
		}
		if key != "" && !strings.Contains(page, key+"="+value) {
			t.Errorf("the page does not name %s=%s", key, value)
		}
	}
}

func BenchmarkGenerate(b *testing.B) {
	dir, out := b.TempDir(), b.TempDir()
	for i := range 100 {
		text := fmt.Sprintf("[Pod]\nNet=none\nSetEnv=A=%d\n[App a]\nImage=reg.example/x:1\n[Install]\nWantedBy=multi-user.target\n", i)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("pod%d.pod", i)), []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := Generate(dir, out, "/usr/bin/gantry"); err != nil {
			b.Fatal(err)
		}
	}
}

// TestUUIDFileQuoted: the name of the file is one word in each line of the unit.
func TestUUIDFileQuoted(t *testing.T) {
	u := Unit{UUIDFile: "/run/a b", Gantry: "/usr/bin/gantry"}
	if text := u.String(); !strings.Contains(text, `rm --force "--uuid-file=/run/a b"`) {
		t.Error(text)
	}
}
