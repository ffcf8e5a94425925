package stage1

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"
)

// What is mapped of the program becomes less, and the program goes on.
func TestTrim(t *testing.T) {
	before := mapped(t)
	trim()
	if after := mapped(t); after >= before { // some of it has come back: what looks
		t.Errorf("%d kB of %d are still mapped", after, before)
	}
}

// mapped is how much of our program is, in kB, beside what can be written.
func mapped(t *testing.T) (kB int) {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	ours := false
	for line := range bytes.Lines(smaps) {
		switch f := strings.Fields(string(line)); {
		case !strings.HasSuffix(f[0], ":"):
			ours = f[1][1] != 'w' && f[len(f)-1] == self
		case ours && f[0] == "Rss:":
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			kB += n
		}
	}
	return kB
}
