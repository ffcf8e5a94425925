package stage1_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/box"
)

// writeHooks writes the configurations of a's hooks: its own, as root.
func (b *bed) writeHooks(d *pods.Draft, a *pods.App) error {
	for file, hook := range map[string]*pods.Hook{pods.PreStartFile: a.PreStart, pods.PostStopFile: a.PostStop} {
		if hook == nil {
			continue
		}
		spec := config(&pods.App{Exec: hook.Exec})
		if b.edit != nil {
			b.edit(spec)
		}
		data, err := json.Marshal(spec)
		if err == nil {
			err = d.WriteFile(pods.AppPath(a.Name, file), data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func hook(script string) *pods.Hook { return &pods.Hook{Exec: []string{"/bin/sh", "-c", script}} }

// The hooks run before and after each run of the app, in its root file system and cgroup, write to its log, and get nothing of its input.
func TestHooks(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	app := sh("app", `echo "app $(/bin/busybox cat /state)"; [ $(/bin/busybox wc -l </state) -ge 2 ] || exit 5`)
	app.Restart = "on-failure"
	app.PreStart = hook(`echo x >>/state; echo "before $(/bin/busybox cat /proc/self/cgroup | /bin/busybox grep -c .)"; /bin/busybox cat`)
	app.PostStop = hook(`echo after; /bin/busybox sleep 0.3; echo done`)
	d := b.prepare(app)
	b.stdin = inputFile(t, "not for a hook\n")
	var out strings.Builder
	if code := wait(b.start(d, &out, os.Stderr)); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Fields(line)[0])
	}
	if want := "before app after done before app x after done"; strings.Join(got, " ") != want {
		t.Errorf("output %q, want %q", out.String(), want)
	}
	for n := range 2 {
		r, err := d.PostStop("app", n)
		if err != nil || r.Code != 0 || r.Started.IsZero() || r.Finished.Before(r.Started) {
			t.Errorf("record of post-stop %d: %+v, %v", n, r, err)
		}
	}
	if _, runs, err := d.LastRun("app"); err != nil || runs != 2 {
		t.Errorf("%d runs, %v", runs, err)
	}
	b.end(d, 0)
}

func inputFile(t *testing.T, content string) *os.File {
	t.Helper()
	path := t.TempDir() + "/stdin"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// What goes wrong in a hook: before the start it fails the pod, after the end it is said beside the app's own code.
func TestHookFails(t *testing.T) {
	for _, c := range []struct {
		name      string
		pre, post string
		app       string
		code      int
		reason    string
		ran       bool
	}{
		{"pre-start exits with 3", "exit 3", "touch /post", "touch /ran", 3, "start app app: pre-start hook exited with 3", false},
		{"pre-start dies", "kill -9 $$", "touch /post", "touch /ran", 137, "start app app: pre-start hook was ended by SIGKILL", false},
		{"post-stop exits with 4", "true", "exit 4", "touch /ran", 0, "app app: post-stop hook exited with 4", true},
		{"post-stop of an app that fails", "true", "exit 4", "touch /ran; exit 6", 6, "app app exited with 6", true},
		{"post-stop takes too long", "true", "trap '' TERM; while :; do /bin/busybox sleep 0.1; done", "touch /ran", 0,
			"app app: post-stop hook was killed: it took longer than the stop timeout", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !box.Enter(t) {
				return
			}
			b := newBed(t)
			app := sh("app", c.app)
			if strings.Contains(c.reason, "took longer") {
				app.StopTimeout = 1
			}
			app.PreStart, app.PostStop = hook(c.pre), hook(c.post)
			d := b.prepare(app)
			var errs strings.Builder
			if code := wait(b.start(d, os.Stdout, &errs)); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if strings.Contains(c.reason, "hook") && !strings.Contains(errs.String(), c.reason) {
				t.Errorf("stderr %q, want %q", errs.String(), c.reason)
			}
			if b.wrote(d, "ran") != c.ran || b.wrote(d, "post") {
				t.Errorf("the app ran: %v, its post-stop after a failed start: %v", b.wrote(d, "ran"), b.wrote(d, "post"))
			}
			run, runs, err := d.LastRun("app")
			if err != nil || runs != 1 || run.Code != c.code {
				t.Errorf("record %+v of %d, %v", run, runs, err)
			}
			if exit := b.end(d, c.code); exit.Reason != c.reason {
				t.Errorf("reason %q, want %q", exit.Reason, c.reason)
			}
		})
	}
}

func (b *bed) wrote(d *pods.Draft, file string) bool {
	_, err := os.Stat(d.Path() + "/" + pods.AppPath("app", "upper") + "/" + file)
	return err == nil
}

// A program that is not there is told as an app's is.
func TestHookMissing(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	app := sh("app", "true")
	app.PreStart = &pods.Hook{Exec: []string{"/no/hook"}}
	d := b.prepare(app)
	if code := wait(b.start(d, os.Stdout, os.Stderr)); code != 127 {
		t.Errorf("exit code %d, want 127", code)
	}
	if exit := b.end(d, 127); exit.Reason != "start app app: pre-start hook did not start: /no/hook: no such file in the image" {
		t.Errorf("reason %q", exit.Reason)
	}
}

// Signals at every moment of a pod with hooks.
func TestHookSignals(t *testing.T) {
	const forever = "while :; do /bin/busybox sleep 0.05; done"
	for _, c := range []struct {
		name           string
		pre, app, post string
		signal         unix.Signal
		code           int
		post1          bool
	}{
		{"stop in pre-start", "touch /up; exec /bin/busybox sleep 1000", "touch /ran", "touch /post", unix.SIGTERM, 143, false},
		{"stop in the app", "true", "trap 'exit 0' TERM; touch /up; " + forever, "touch /post", unix.SIGTERM, 0, true},
		{"stop in post-stop", "true", "true", "touch /up; /bin/busybox sleep 0.5; touch /post", unix.SIGTERM, 0, true},
		{"kill in the app", "true", "touch /up; " + forever, "touch /post", unix.SIGQUIT, 137, false},
		{"kill in post-stop", "true", "true", "touch /up; /bin/busybox sleep 1000; touch /post", unix.SIGQUIT, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !box.Enter(t) {
				return
			}
			b := newBed(t)
			app := sh("app", c.app)
			app.PreStart, app.PostStop = hook(c.pre), hook(c.post)
			d := b.prepare(app)
			cmd := b.start(d, os.Stdout, os.Stderr)
			b.await(d, "app", "up")
			if err := cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			if code := wait(cmd); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if b.wrote(d, "post") != c.post1 || b.wrote(d, "ran") {
				t.Errorf("post-stop ended: %v, the app ran: %v", b.wrote(d, "post"), b.wrote(d, "ran"))
			}
			b.end(d, c.code)
		})
	}
}

// SIGKILL of the supervisor while a hook runs ends the hook.
func TestHookSupervisorKilled(t *testing.T) {
	for _, which := range []string{"pre-start", "post-stop"} {
		t.Run(which, func(t *testing.T) {
			if !box.Enter(t) {
				return
			}
			b := newBed(t)
			app := sh("app", "true")
			const script = "touch /up; exec /bin/busybox sleep 1000"
			if app.PreStart = hook(script); which == "post-stop" {
				app.PreStart, app.PostStop = nil, hook(script)
			}
			d := b.prepare(app)
			cmd := b.start(d, os.Stdout, os.Stderr)
			b.await(d, "app", "up")
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			b.undo(d)
			b.remove(d)
		})
	}
}

// Apps stop in order, and one's post-stop is a part of its stop.
func TestHookOrder(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	share := b.share()
	const script = "trap 'echo NAME stopped >>/share/order; exit 0' TERM; touch /up; while :; do /bin/busybox sleep 0.05; done"
	announcer := sh("announcer", strings.Replace(script, "NAME", "announcer", 1), "server")
	announcer.PreStart = hook("echo announcer before >>/share/order")
	announcer.PostStop = hook("/bin/busybox sleep 0.3; echo announcer after >>/share/order")
	server := sh("server", strings.Replace(script, "NAME", "server", 1))
	server.PreStart = hook("/bin/busybox sleep 0.3; echo server before >>/share/order")
	d := b.prepare(announcer, server)
	cmd := b.start(d, os.Stdout, os.Stderr)
	b.await(d, "announcer", "up")
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := wait(cmd); code != 0 {
		t.Errorf("exit code %d", code)
	}
	order(t, share, "server before\nannouncer before\nannouncer stopped\nannouncer after\nserver stopped\n")
	b.end(d, 0)
}

// A record that the disk does not take is said to be missing, and is not how the pod ended.
func TestHookNotRecorded(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	b := newBed(t)
	app := sh("app", "exit 0")
	app.PostStop = hook("exit 0")
	d := b.prepare(app)
	if err := os.MkdirAll(filepath.Join(d.Path(), pods.AppPath("app", "runs/0.post-stop.json")), 0o700); err != nil { // in its place
		t.Fatal(err)
	}
	var errs strings.Builder
	if code := wait(b.start(d, os.Stdout, &errs)); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if exit := b.end(d, 0); !strings.Contains(exit.Reason, "post-stop.json") || !strings.Contains(errs.String(), "post-stop.json") {
		t.Errorf("reason %q, stderr %q", exit.Reason, errs.String())
	}
}
