package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantryrun/gantry/pods"
)

// newPod makes a prepared pod with apps and the log files that stage1 would have written.
func newPod(t *testing.T, apps ...string) (*pods.Pod, string, *pods.Lock) {
	t.Helper()
	store := pods.In(t.TempDir())
	d, err := store.Draft(pods.NewUUID())
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range apps {
		if err := d.AddApp(&pods.App{Name: a, Order: i}); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := d.Commit(&pods.Manifest{}, false)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(d.Path(), "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return d.Pod, dir, lock
}

func write(t *testing.T, path string, lines ...string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
		t.Fatal(err)
	}
}

func at(sec int, rest string) string {
	return fmt.Sprintf("2026-11-22T14:00:%02d.000000000Z %s", sec, rest)
}

func printed(t *testing.T, pod *pods.Pod, opts Options) []string {
	t.Helper()
	var got []string
	_, err := Print(t.Context(), pod, opts, func(app string, l Line) error {
		got = append(got, fmt.Sprintf("%s %s %s%s", app, l.Stream, l.Text, map[bool]string{true: "+"}[l.Partial]))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestPrint(t *testing.T) {
	pod, dir, lock := newPod(t, "a", "b", "silent")
	defer lock.Release()
	write(t, dir+"/a.log.1", at(1, "stdout F one"), at(3, "stderr F three"))
	write(t, dir+"/a.log", at(5, "stdout P fi"), at(6, "stdout F ve"), "torn line", at(7, "stdout F "))
	write(t, dir+"/b.log", at(2, "stdout F two"), at(4, "stdout F four"))
	all := []string{"a stdout one", "b stdout two", "a stderr three", "b stdout four", "a stdout fi+", "a stdout ve", "a stdout "}
	for _, tt := range []struct {
		name string
		opts Options
		want []string
	}{
		{"all, by time", Options{Tail: -1}, all},
		{"one app", Options{Tail: -1, Apps: []string{"b"}}, []string{"b stdout two", "b stdout four"}},
		{"tail", Options{Tail: 2}, all[5:]},
		{"tail of nothing", Options{Tail: 0}, nil},
		{"since", Options{Tail: -1, Since: time.Date(2026, 11, 22, 14, 0, 5, 0, time.UTC)}, all[4:]},
		{"until", Options{Tail: -1, Until: time.Date(2026, 11, 22, 14, 0, 2, 0, time.UTC)}, all[:2]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, printed(t, pod, tt.opts)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := Print(t.Context(), pod, Options{Apps: []string{"c"}}, nil); !errors.Is(err, ErrNoApp) {
		t.Errorf("unknown app: %v", err)
	}
}

// TestFollow rotates the log under the reader, and ends the pod.
func TestFollow(t *testing.T) {
	pod, dir, lock := newPod(t, "a")
	run, _ := json.Marshal(pods.Run{Version: pods.Version, BootID: pods.BootID()})
	if err := os.WriteFile(filepath.Join(filepath.Dir(dir), "run.json"), run, 0o600); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string)
	done := make(chan error, 1)
	go func() {
		_, err := Print(t.Context(), pod, Options{Tail: -1, Follow: true}, func(_ string, l Line) error {
			lines <- string(l.Text)
			return nil
		})
		close(lines)
		done <- err
	}()
	expect := func(want string) {
		t.Helper()
		if got := <-lines; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	write(t, dir+"/a.log", at(1, "stdout F 1"))
	expect("1")
	for n := 2; n < 6; n += 2 {
		write(t, dir+"/a.log", at(n, fmt.Sprintf("stdout F %d", n)))
		if err := os.Rename(dir+"/a.log", dir+"/a.log.1"); err != nil {
			t.Fatal(err)
		}
		write(t, dir+"/a.log", at(n+1, fmt.Sprintf("stdout F %d", n+1)))
		expect(fmt.Sprint(n))
		expect(fmt.Sprint(n + 1))
	}
	write(t, dir+"/a.log", at(9, "stdout F last"))
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	expect("last")
	if rest, open := <-lines; open {
		t.Errorf("after the end: %q", rest)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestFollowIsCancelled(t *testing.T) {
	pod, dir, lock := newPod(t, "a")
	defer lock.Release()
	write(t, dir+"/a.log", at(1, "stdout F 1"))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Print(ctx, pod, Options{Tail: -1, Follow: true}, func(string, Line) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte(at(1, "stdout F text")))
	f.Add([]byte(at(1, "stderr P ")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := parseLine(raw)
		if err == nil && len(l.Text) > len(raw) {
			t.Error("text out of nothing")
		}
	})
}
