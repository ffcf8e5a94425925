package launch_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The caller's files are not the command's: neither their owner, nor what is in them.
func TestEnterLeavesCallersFiles(t *testing.T) {
	for _, c := range []struct {
		name string
		uid  uint32
	}{{"root", 0}, {"user", 1000}} {
		t.Run(c.name, func(t *testing.T) {
			p := newPod(t)
			p.startEntered(func(s *specs.Spec) { s.Process.User.UID = c.uid }, nil, "true")
			in, out := filepath.Join(t.TempDir(), "in"), filepath.Join(t.TempDir(), "out")
			p.must(os.WriteFile(in, []byte("secret\n"), 0o600))
			p.must(os.WriteFile(out, []byte("earlier\n"), 0o600))
			stdin, err := os.Open(in)
			p.must(err)
			defer stdin.Close()
			stdout, err := os.OpenFile(out, os.O_WRONLY|os.O_APPEND, 0)
			p.must(err)
			defer stdout.Close()
			cmd := p.enter("--", "sh", "-c", "cat; echo pwn >/proc/self/fd/0; : >/proc/self/fd/1; echo two >&2; echo three")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stdout
			p.must(cmd.Run())
			for path, want := range map[string]string{in: "secret\n", out: "earlier\nsecret\ntwo\nthree\n"} {
				data, err := os.ReadFile(path)
				if err != nil || string(data) != want {
					t.Errorf("%s has %q, %v; want %q", path, data, err, want)
				}
				var st unix.Stat_t
				if err := unix.Stat(path, &st); err != nil || st.Uid != 0 {
					t.Errorf("%s is of %d, %v", path, st.Uid, err)
				}
			}
		})
	}
}
