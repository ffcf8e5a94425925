package hosts_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/build"
)

// put copies a file of the work tree to the host.
func (m machine) put(t *testing.T, from, to string) {
	t.Helper()
	root, err := build.Root()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(root, from))
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, to, string(data))
}

func (m machine) write(t *testing.T, path, text string) {
	t.Helper()
	path = m.Path(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// A printed unit passes systemd's own check, and runs what its line says.
func TestPrintedUnit(t *testing.T) {
	m := boot(t)
	text := m.must(t, "gantry", "systemd", "unit", "--net=none", "--set-env=X=two words", busybox, "--name=web", "--",
		"sh", "-c", `echo "said: $$X 100%% $$(hostname)"; exec sleep 1000`)
	m.unit(t, "printed.service", text)
	m.must(t, "systemd-analyze", "verify", "/run/systemd/system/printed.service")
	m.start(t, "printed.service")
	await.Until(t, "what it says", func() bool { return strings.Contains(m.journal(t, "printed.service"), "said: two words 100% gantry-") })
	if code, _, stderr := m.run(t, "gantry", "systemd", "unit", "--no-such-flag", busybox); code != 254 {
		t.Errorf("a wrong line: exit code %d, %s", code, stderr)
	}
}

// A pod file is a service: wanted, started, with what its [Service] says; a broken one breaks only itself.
func TestGenerator(t *testing.T) {
	m := boot(t)
	m.put(t, "packaging/systemd/gantry-generator", "/usr/lib/systemd/system-generators/gantry-generator")
	const pod = "[Pod]\nNet=none\nSetEnv=X=two words\n[App web]\nImage=" + busybox + "\nMemory=64Mi\nArgs=sh -c 'echo \"X is $$X\"; exec sleep 1000'\n" +
		"[Service]\nMemoryMax=100M\n[Install]\nWantedBy=multi-user.target\n"
	m.write(t, "/etc/gantry/pods.d/generated.pod", pod)
	m.write(t, "/etc/gantry/pods.d/broken.pod", "nonsense\n")
	m.write(t, "/etc/gantry/pods.d/front.pod", "[Unit]\nRequires=generated.service\nAfter=generated.service\n"+strings.Replace(pod, "MemoryMax=100M", "TasksMax=100", 1))
	m.write(t, "/etc/systemd/system/front.service.d/local.conf", "[Service]\nTasksMax=50\n")
	m.write(t, "/etc/gantry/pods.d/many@.pod", strings.Replace(pod, "X=two words", "X=%i", 1))
	t.Cleanup(func() {
		m.must(t, "systemctl", "stop", "generated.service", "many@one.service", "front.service")
		m.must(t, "rm", "-r", "/etc/gantry/pods.d", "/etc/systemd/system/front.service.d")
		m.must(t, "systemctl", "daemon-reload")
		m.clean(t)
	})
	m.must(t, "systemctl", "daemon-reload")
	if s := m.show(t, "multi-user.target", "Wants"); !strings.Contains(s, "generated.service") {
		t.Errorf("multi-user.target wants %s", s)
	}
	m.start(t, "front.service")
	if s := m.show(t, "generated.service", "ActiveState"); s != "active" {
		t.Errorf("what front.pod requires is %s", s)
	}
	if s := m.show(t, "front.service", "TasksMax"); s != "50" {
		t.Errorf("TasksMax is %s in spite of the drop-in", s)
	}
	m.start(t, "many@one.service")
	await.Until(t, "what they say", func() bool {
		return strings.Contains(m.journal(t, "generated.service"), "X is two words\n") && strings.Contains(m.journal(t, "many@one.service"), "X is one\n")
	})
	if s := m.show(t, "generated.service", "MemoryMax"); s != "104857600" {
		t.Errorf("MemoryMax is %s", s)
	}
	if s := m.show(t, "generated.service", "SourcePath"); s != "/etc/gantry/pods.d/generated.pod" {
		t.Errorf("SourcePath is %s", s)
	}
	m.must(t, "systemd-analyze", "verify", "/run/systemd/generator/generated.service")
	if f, err := os.OpenFile(m.Path("/dev/kmsg"), os.O_WRONLY, 0); err != nil {
		t.Logf("not shown: that broken.pod is named in the journal: %v", err)
	} else {
		_ = f.Close()
		await.Until(t, "the journal's word of broken.pod", func() bool {
			return strings.Contains(m.must(t, "journalctl", "--no-pager", "--output=cat", "--identifier=gantry-generator"), "broken.pod: line 1")
		})
	}
}

// A hundred pod files hold the boot up by little more than one does. (The target, 10 ms, is measured by tests/bench: how fast this machine is,
// and how busy, is nothing to judge.)
func TestGeneratorTime(t *testing.T) {
	m := boot(t)
	for i := range 100 {
		pod := fmt.Sprintf("[Pod]\nNet=none\nSetEnv=N=%d\n[App a]\nImage=reg.example/x:1\nArgs=serve --port=80\n[Install]\nWantedBy=multi-user.target\n", i)
		m.write(t, fmt.Sprintf("/run/pods.100/pod%d.pod", i), pod)
		if i == 0 {
			m.write(t, "/run/pods.1/pod0.pod", pod)
		}
	}
	const line = `for i in 1 2 3 4 5 6 7 8 9 10; do for n in 1 100; do mkdir /run/out; a=$(date +%s%N); gantry systemd generator --pods=/run/pods.$n /run/out /run/out /run/out
b=$(date +%s%N); echo $n $((b - a)); rm -r /run/out; done; done`
	best := map[int]time.Duration{}
	for said := range strings.Lines(m.sh(t, line)) {
		var files int
		var took time.Duration
		if _, err := fmt.Sscan(said, &files, (*int64)(&took)); err != nil {
			t.Fatal(err)
		}
		if best[files] == 0 || took < best[files] {
			best[files] = took
		}
	}
	t.Logf("1 pod file: %v, 100: %v", best[1], best[100])
	if len(best) != 2 || best[100] > 20*best[1] {
		t.Errorf("the generator takes %v", best)
	}
}

// What the packages ship passes systemd's check and runs; so do the examples.
func TestPackaged(t *testing.T) {
	m := boot(t)
	units := []string{"gantry-gc.service", "gantry-gc.timer", "gantry-image-gc.service", "gantry-image-gc.timer", "gantry-list.socket", "gantry-metrics.socket", "gantry-network.service"}
	for _, u := range []string{"gantry-list@.service", "gantry-metrics@.service"} {
		m.put(t, "packaging/systemd/"+u, "/run/systemd/system/"+u)
	}
	var paths []string
	for _, u := range units {
		paths = append(paths, "/run/systemd/system/"+u)
		m.put(t, "packaging/systemd/"+u, "/run/systemd/system/"+u)
	}
	m.put(t, "examples/units/pod@.service", "/run/systemd/system/pod@.service")
	m.put(t, "packaging/tmpfiles.d/gantry.conf", "/usr/lib/tmpfiles.d/gantry.conf")
	m.must(t, "systemctl", "daemon-reload")
	m.must(t, "systemd-tmpfiles", "--create", "gantry.conf")
	out := m.must(t, append([]string{"systemd-analyze", "verify", "--man=no", "/run/systemd/system/pod@web1.service"}, paths...)...)
	t.Log(out)
	m.must(t, "systemctl", "start", "gantry-gc.service", "gantry-image-gc.service", "gantry-gc.timer", "gantry-image-gc.timer")
	for _, u := range units {
		if r := m.show(t, u, "Result"); r != "success" {
			t.Errorf("%s: %s", u, r)
		}
	}
	m.must(t, "systemctl", "stop", "gantry-gc.timer", "gantry-image-gc.timer")
	m.put(t, "examples/pods.d/web.pod", "/run/example/web.pod")
	m.must(t, "sh", "-c", "mkdir -p /run/example-out && gantry systemd generator --pods=/run/example /run/example-out && systemd-analyze verify --man=no /run/example-out/web.service")
}
