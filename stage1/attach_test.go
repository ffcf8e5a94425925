package stage1_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
)

// client is somebody who attached.
type client struct {
	conn  *net.UnixConn
	reply pods.ControlReply
	files []*os.File
}

func attachTo(t *testing.T, d *pods.Draft, app string, streams ...string) *client {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: filepath.Join("/run/gantry/pods", d.UUID, pods.ControlFile)})
	if err != nil {
		t.Fatal(err)
	}
	c := &client{conn: conn}
	c.say(t, pods.ControlRequest{Version: pods.Version, Verb: pods.ControlAttach, App: app, Streams: streams})
	data, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*8))
	n, nRights, _, _, err := conn.ReadMsgUnix(data, rights)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data[:n], &c.reply); err != nil {
		t.Fatal(err)
	}
	messages, _ := unix.ParseSocketControlMessage(rights[:nRights])
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			c.files = append(c.files, os.NewFile(uintptr(fd), "stream"))
		}
	}
	if len(c.files) != len(c.reply.Streams) {
		t.Fatalf("%d descriptors with %+v", len(c.files), c.reply)
	}
	return c
}

func (c *client) say(t *testing.T, r pods.ControlRequest) {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.conn.Write(append(data, '\n')); err != nil {
		t.Fatal(err)
	}
}

func (c *client) close() {
	for _, f := range c.files {
		_ = f.Close()
	}
	_ = c.conn.Close()
}

// lost is what the supervisor says of it when the client has gone, or was let go.
func (c *client) lost(t *testing.T) uint64 {
	t.Helper()
	_ = c.conn.CloseWrite()
	_ = c.conn.SetReadDeadline(time.Now().Add(await.Patience))
	var sum uint64
	lines := bufio.NewScanner(c.conn)
	for lines.Scan() {
		var r pods.ControlReply
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		sum += r.Lost
	}
	return sum
}

// One that never reads and one that is dead hold up neither the app nor who reads, and what the slow one lost is told it, to the byte.
func TestAttachSlowAndDead(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	app := sh("app", "read x; i=0; while [ $i -lt 200000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; touch /said; "+
		"while read x; do [ $x = end ] || exit 3; echo end; done")
	app.Stdin, app.Stdout, app.Essential = pods.StreamStream, pods.StreamStream, false
	d := b.prepare(app, sh("other", "exec sleep 1000"))
	cmd := b.start(d, os.Stdout, os.Stderr)
	b.awaitReady(d)
	slow, dead, good := attachTo(t, d, "app", "stdout"), attachTo(t, d, "app", "stdout"), attachTo(t, d, "app")
	dead.close()
	if got := strings.Join(good.reply.Streams, ","); got != "stdin,stdout,stderr" {
		t.Fatalf("attached to %s", got)
	}
	tell := func(line string) {
		if _, err := good.files[0].WriteString(line + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	tell("go")
	const full, end = "0123456789012345678901234567890123456789", "end"
	var sawEnd atomic.Bool
	read := make(chan string)
	got := 0 // bytes
	go func() {
		defer close(read)
		for lines := bufio.NewReader(good.files[1]); ; {
			line, err := lines.ReadString('\n')
			got += len(line)
			text := strings.TrimSuffix(line, "\n")
			switch {
			case err == io.EOF:
				return
			case err != nil:
				read <- err.Error()
				return
			case text == "end":
				sawEnd.Store(true)
			case !strings.HasPrefix(full, text) && !strings.HasPrefix(end, text): // else it is where something is missing
				read <- fmt.Sprintf("two lines in one: %q", line)
				return
			}
		}
	}()
	b.await(d, "app", "said")
	ends := 0
	await.Until(t, "who reads to see an end", func() bool { // it may be behind, and lose some
		ends++
		tell("end")
		return sawEnd.Load()
	})
	tell("over")
	for what := range read {
		t.Error(what)
	}
	total := 200000*(len(full)+1) + ends*len("end\n")
	b.awaitRun(d, "app", 1)
	if lost := good.lost(t); got+int(lost) != total {
		t.Errorf("who reads got %d bytes and lost %d, of %d", got, lost, total)
	}
	rest, err := io.ReadAll(slow.files[0])
	if lost := slow.lost(t); err != nil || lost == 0 || len(rest)+int(lost) != total {
		t.Errorf("who does not read got %d bytes and lost %d, of %d, %v", len(rest), lost, total, err)
	}
	if c := attachTo(t, d, "app"); c.reply.Error != "app app is over" {
		t.Errorf("reply %+v", c.reply)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wait(cmd)
	b.end(d, 143)
}

// awaitReady returns when the pod's apps can be attached to.
func (b *bed) awaitReady(d *pods.Draft) {
	b.t.Helper()
	await.Until(b.t, "the pod to be ready", d.Ready)
}

// Input goes to the app from whoever sends it, survives a restart of the app, and has an end when a client says so.
func TestAttachInput(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	app := sh("app", "echo start; cat; echo over")
	app.Stdin, app.Stdout = pods.StreamStream, pods.StreamStream
	d := b.prepare(app)
	cmd := b.start(d, os.Stdout, os.Stderr)
	b.awaitReady(d)
	one, two := attachTo(t, d, "app", "stdin", "stdout"), attachTo(t, d, "app", "stdin")
	out := bufio.NewScanner(one.files[1])
	expect := func(want string) {
		t.Helper()
		for out.Scan() {
			if out.Text() == want {
				return
			}
		}
		t.Fatalf("no %q", want)
	}
	for i, c := range []*client{one, two, one} {
		if _, err := fmt.Fprintln(c.files[0], i); err != nil {
			t.Fatal(err)
		}
		expect(fmt.Sprint(i))
	}
	if got := ask(t, d, restartLine("app")); got != "{}" {
		t.Fatalf("restart: %s", got)
	}
	if _, err := fmt.Fprintln(two.files[0], "again"); err != nil {
		t.Fatal(err)
	}
	expect("again")
	_ = one.files[0].Close()
	two.say(t, pods.ControlRequest{Version: pods.Version, Verb: pods.ControlEOF, App: "app"})
	if _, err := fmt.Fprintln(two.files[0], "last"); err != nil {
		t.Fatal(err)
	}
	two.close()
	expect("last")
	expect("over")
	if code := wait(cmd); code != 0 {
		t.Errorf("exit code %d", code)
	}
	b.end(d, 0)
}

// Who only writes to the app is let go when it is over, though the pod goes on.
func TestAttachInputOver(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	app := sh("app", "read x; exit 0")
	app.Stdin, app.Essential = pods.StreamStream, false
	d := b.prepare(app, sh("other", "exec sleep 1000"))
	cmd := b.start(d, os.Stdout, os.Stderr)
	b.awaitReady(d)
	c := attachTo(t, d, "app", "stdin")
	defer c.close()
	if _, err := c.files[0].WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	if n, err := c.conn.Read(make([]byte, 100)); !errors.Is(err, io.EOF) {
		t.Errorf("read %d bytes, %v, where it was to be let go", n, err)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	b.end(d, wait(cmd))
}
