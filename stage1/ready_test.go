package stage1_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
)

// notifier sends its argument to the notification socket of an app.
const notifier = `
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
int main(int argc, char **argv)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	strcpy(a.sun_path, "/dev/gantry-notify");
	return argc != 2 || sendto(fd, argv[1], strlen(argv[1]), 0, (struct sockaddr *)&a, sizeof a) < 0;
}
`

func (b *bed) addNotifier() {
	b.t.Helper()
	source := filepath.Join(b.t.TempDir(), "notify.c")
	if err := os.WriteFile(source, []byte(notifier), 0o600); err != nil {
		b.t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-static", "-o", filepath.Join(b.lower, "bin/notify"), source).CombinedOutput(); err != nil {
		b.t.Fatalf("gcc: %v\n%s", err, out)
	}
}

// What comes after an app waits until that is ready, and so does the pod.
func TestReady(t *testing.T) {
	for _, c := range []struct{ name, ready, script string }{
		{"notify", "notify", "/bin/notify STATUS=x; echo ready >>/share/order; /bin/notify 'MAINPID=1\nREADY=1'"},
		{"tcp", "tcp:80", "echo ready >>/share/order; (while :; do /bin/busybox nc -l -p 80; done) &"},
		{"http, not with an error", "http:80/x", "printf 'HTTP/1.0 503 no\\r\\n\\r\\n' | /bin/busybox nc -l -p 80 >/dev/null; echo ready >>/share/order; (while :; do printf 'HTTP/1.0 204 yes\\r\\n\\r\\n' | /bin/busybox nc -l -p 80 >/dev/null; done) &"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !box.Enter(t) {
				return
			}
			b := newBed(t)
			b.addNotifier()
			share := b.share()
			server := sh("server", "touch /up; until [ -e /share/open ]; do sleep 0.05; done; "+c.script+" sleep 1000 & trap 'exit 0' TERM; wait")
			server.Ready = c.ready
			d := b.prepare(server, sh("client", "echo started >>/share/order; touch /up; exec sleep 1000", "server"))
			cmd := b.start(d, os.Stdout, os.Stderr)
			b.await(d, "server", "up")
			if d.Ready() {
				t.Error("the pod is ready at once")
			}
			write(t, filepath.Join(share, "open"), "")
			b.await(d, "client", "up")
			await.Until(t, "the pod to get ready", d.Ready)
			if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			wait(cmd)
			order(t, share, "ready\nstarted\n")
			b.end(d, 143)
		})
	}
}

// An app that fails before it is ready ends the pod, and the pod was never ready.
func TestFailsBeforeReady(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	app := sh("app", "exit 4")
	app.Ready = pods.ReadyNotify
	d := b.prepare(app)
	if code := wait(b.start(d, os.Stdout, os.Stderr)); code != 4 {
		t.Errorf("exit code %d", code)
	}
	if d.Ready() {
		t.Error("the pod was ready")
	}
	b.end(d, 4)
}
