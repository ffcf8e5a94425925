package stage1

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
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
