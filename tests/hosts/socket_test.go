package hosts_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/ociimage"
)

// tools is busybox and testdata/tool.c, as the host sees it.
const tools = "oci-archive:/mnt/tools.tar:tools"

// buildTool builds testdata/tool.c.
func buildTool(t *testing.T, program string) {
	t.Helper()
	if out, err := exec.Command("gcc", "-static", "-Os", "-s", "-Wall", "-Wextra", "-o", program, "testdata/tool.c").CombinedOutput(); err != nil {
		t.Fatalf("build testdata/tool.c: %v\n%s", err, out)
	}
}

// withTools puts the image tools into the host's store.
func (m machine) withTools(t *testing.T) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "tool")
	buildTool(t, program)
	body, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	busybox, err := ociimage.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	tool, err := ociimage.Layer(ociimage.Exec("bin/tool", body))
	if err != nil {
		t.Fatal(err)
	}
	ports := `[{"name":"declared","protocol":"tcp","port":80,"socketActivated":true},{"name":"other","protocol":"tcp","port":81}]`
	img, err := ociimage.Image(v1.Config{Cmd: []string{"/bin/sh"}, Env: []string{"PATH=/bin", "LISTEN_FDS=7"},
		Labels: map[string]string{"run.gantry.appc.ports": ports}}, busybox, tool)
	if err == nil {
		err = ociimage.WriteArchive(filepath.Join(m.Share, "tools.tar"), img, "tools")
	}
	if err != nil {
		t.Fatal(err)
	}
	m.must(t, "gantry", "fetch", "--quiet", tools)
}

// socket installs a socket unit, listens, and undoes that at the end of the test.
func (m machine) socket(t *testing.T, name, lines string) {
	t.Helper()
	m.install(t, name, "[Socket]\n"+lines)
	t.Cleanup(func() { m.must(t, "systemctl", "stop", name) })
	m.must(t, "systemctl", "start", name)
}

// The first connection starts the pod. Each app has the sockets that it asked for by name, and no other descriptor; and whoever connects
// while the service is being restarted is answered by the next pod.
func TestSocketActivation(t *testing.T) {
	m := boot(t)
	m.withTools(t)
	const service = "listening.service"
	m.unit(t, service, contract+run+tools+" --name=web --socket=http --socket=more -- tool serve web --- "+tools+" --name=ctl --socket=admin -- tool serve ctl\n")
	m.socket(t, "http.socket", "ListenStream=127.0.0.1:8100\nFileDescriptorName=http\nService="+service+"\n")
	m.socket(t, "admin.socket", "ListenStream=127.0.0.1:8105\nFileDescriptorName=admin\nService="+service+"\n")
	m.socket(t, "more.socket", "ListenStream=127.0.0.1:8101\nFileDescriptorName=more\nService="+service+"\n")
	if s := m.show(t, service, "ActiveState"); s != "inactive" {
		t.Fatalf("before the first connection it is %s", s)
	}
	const ask = "busybox nc -w 20 127.0.0.1 8100 </dev/null"
	first := m.sh(t, ask)
	if !strings.HasPrefix(first, "web ") {
		t.Fatalf("the first connection was answered by %q", first)
	}
	if s := m.sh(t, "busybox nc -w 20 127.0.0.1 8105 </dev/null"); s != "ctl 0" {
		t.Errorf("the socket admin was answered by %q", s)
	}
	if second := m.sh(t, "busybox nc -w 20 127.0.0.1 8101 </dev/null"); !strings.HasPrefix(second, "web ") || second == first {
		t.Errorf("the socket more was answered by %q, the first by %q", second, first)
	}
	await.Until(t, "what the apps find", func() bool {
		journal := m.journal(t, service)
		return strings.Contains(journal, "ctl: fds=1 names=admin pid=mine blocking next=closed") &&
			strings.Contains(journal, "web: fds=2 names=http:more pid=mine blocking blocking next=closed")
	})
	m.write(t, "/run/clients", `for i in $(seq 60); do [ "$(busybox nc -w 20 127.0.0.1 8100 </dev/null)" = "`+first+`" ] && echo ok || echo lost; sleep 0.02; done`)
	m.sh(t, "sh /run/clients >/run/answers & for i in 1 2 3; do sleep 0.3; systemctl restart "+service+"; done; wait")
	if s := m.sh(t, "sort /run/answers | uniq -c"); strings.Join(strings.Fields(s), " ") != "60 ok" {
		t.Errorf("60 connections over three restarts: %s", s)
	}
	// A crash of the supervisor loses none that wait either.
	m.sh(t, fmt.Sprintf("kill -KILL %d", m.mainPID(t, service)))
	if s := m.sh(t, ask); s != first {
		t.Errorf("after SIGKILL of the supervisor: %q", s)
	}
}

// A pod of one app has all sockets without asking, flags of theirs included, and an app keeps them when it is restarted in its pod.
func TestSocketOfOneApp(t *testing.T) {
	m := boot(t)
	m.withTools(t)
	m.unit(t, "single.service", strings.Replace(contract, "[Service]", "[Service]\nNonBlocking=yes", 1)+run+tools+" --name=app --user=1000 --restart=always -- tool serve app\n")
	m.socket(t, "single.socket", "ListenStream=127.0.0.1:8102\n")
	const ask = "busybox nc -w 20 127.0.0.1 8102 </dev/null"
	if s := m.sh(t, ask); s != "app 0" {
		t.Errorf("answered by %q", s)
	}
	m.must(t, "gantry", "kill", "--app=app", m.uuid(t, "single.service"))
	if s := m.sh(t, ask); s != "app 0" {
		t.Errorf("after a restart of the app: %q", s)
	}
	await.Until(t, "what the app finds, twice", func() bool {
		return strings.Count(m.journal(t, "single.service"), "fds=1 names=single.socket pid=mine nonblocking next=closed") == 2
	})
}

// An appc image says itself which port it takes; one that nobody takes, or that nobody passes, is an error that says so.
func TestSocketNames(t *testing.T) {
	m := boot(t)
	m.withTools(t)
	m.unit(t, "declared.service", contract+run+busybox+" --name=other -- sleep 1000 --- "+tools+" --name=web -- tool serve web\n")
	m.socket(t, "declared.socket", "ListenStream=127.0.0.1:8103\nFileDescriptorName=declared\n")
	if s := m.sh(t, "busybox nc -w 20 127.0.0.1 8103 </dev/null"); s != "web 0" {
		t.Errorf("answered by %q", s)
	}
	m.must(t, "systemctl", "stop", "declared.service", "declared.socket")
	m.must(t, "systemctl", "start", "declared.service") // it runs without
	await.Until(t, "an app without sockets", func() bool {
		return strings.Contains(m.journal(t, "declared.service"), "web: fds=0 names=- pid=wrong next=closed")
	})
	m.must(t, "systemctl", "stop", "declared.service")
	m.unit(t, "unnamed.service", contract+run+busybox+" --name=a -- sleep 1000 --- "+busybox+" --name=b -- sleep 1000\n")
	m.socket(t, "unnamed.socket", "ListenStream=127.0.0.1:8104\nTriggerLimitBurst=1\n")
	m.unit(t, "missing.service", contract+run+busybox+" --name=a --socket=http -- sleep 1000\n")
	for unit, want := range map[string]string{
		"unnamed.service": `a socket "unnamed.socket" that no app takes: say --socket=unnamed.socket`,
		"missing.service": "app a: --socket=http: the unit passes no socket of that name",
	} {
		if code, _, _ := m.run(t, "systemctl", "start", unit); code == 0 {
			t.Errorf("%s started", unit)
		}
		if s, j := m.show(t, unit, "ExecMainStatus"), m.journal(t, unit); s != "254" || !strings.Contains(j, want) {
			t.Errorf("%s: exit status %s\n%s", unit, s, j)
		}
	}
}
