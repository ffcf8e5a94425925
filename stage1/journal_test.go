package stage1

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/box"
)

func TestAppendField(t *testing.T) {
	got := string(appendField(nil, "MESSAGE", []byte("a\nb")))
	if want := "MESSAGE\n\x03\x00\x00\x00\x00\x00\x00\x00a\nb\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Only the very socket that systemd names is the journal's.
func TestIsJournal(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]bool{
		"": false, "nonsense": false, fmt.Sprintf("%d:%d", st.Dev, st.Ino+1): false, fmt.Sprintf("%d:%d", st.Dev, st.Ino): true,
	} {
		t.Setenv("JOURNAL_STREAM", value)
		if got := isJournal(f); got != want {
			t.Errorf("JOURNAL_STREAM=%q: %v", value, got)
		}
	}
	if isJournal(os.Stdin) {
		t.Error("stdin is not the journal")
	}
}

// A journald that is stuck holds an app up once, for a moment; what it does not take is counted, and what it takes later is not.
func TestJournalStuck(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	if err := os.MkdirAll(filepath.Dir(journalSocket), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: journalSocket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	j, err := openJournal()
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	d := newLogPod(t, t.TempDir())
	log := newLogFile(d.Pod, "web")
	out := j.stream(&pods.Manifest{}, &pods.App{Name: "web"}, "stdout", log)
	begin := time.Now()
	const lines = 5000
	for range lines {
		out.writeLine([]byte("x"), false)
	}
	if passed := time.Since(begin); passed < journalPatience || passed > time.Minute {
		t.Errorf("a stuck journald held us up for %s", passed)
	}
	got := 0
	for buf := make([]byte, 4096); ; got++ {
		_ = l.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := l.Read(buf); err != nil {
			break
		}
	}
	out.writeLine([]byte("x"), false)
	if err := log.close(); err != nil {
		t.Fatal(err)
	}
	if dropped, err := d.Dropped("web"); err != nil || got == 0 || int(dropped.Journal) != lines-got {
		t.Errorf("journald has %d lines, dropped: %+v, %v", got, dropped, err)
	}
}
