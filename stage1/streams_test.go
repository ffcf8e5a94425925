package stage1

import (
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

type piece struct {
	Line    string
	Partial bool
}

type recorder struct{ pieces []piece }

func (r *recorder) writeLine(line []byte, partial bool) {
	r.pieces = append(r.pieces, piece{string(line), partial})
}

func (*recorder) flush() {}

func TestCopyLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, c := range []struct {
		name, in string
		want     []piece
	}{
		{"nothing", "", nil},
		{"lines", "a\nb\n", []piece{{"a", false}, {"b", false}}},
		{"empty lines", "\n\n", []piece{{"", false}, {"", false}}},
		{"no newline at the end", "a\nb", []piece{{"a", false}, {"b", true}}},
		{"longer than the buffer", long + "y\n", []piece{{long, true}, {"y", false}}},
		{"exactly the buffer", long + "\n", []piece{{long, true}, {"", false}}},
		{"any byte", "\x00\xff\x1b[2J\r\n", []piece{{"\x00\xff\x1b[2J\r", false}}},
	} {
		for _, r := range []struct {
			name string
			io.Reader
		}{{"at once", strings.NewReader(c.in)}, {"byte by byte", iotest.OneByteReader(strings.NewReader(c.in))}, {"data with error", iotest.DataErrReader(strings.NewReader(c.in))}} {
			t.Run(c.name+" "+r.name, func(t *testing.T) {
				var rec recorder
				copyLines(r, []lineWriter{&rec})
				if diff := cmp.Diff(c.want, rec.pieces); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestPrefixer(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &prefixer{to: w, prefix: "web: "}
	p.writeLine([]byte("one"), false)
	p.writeLine([]byte("tw"), true)
	p.writeLine([]byte("o"), false)
	p.flush()
	_ = w.Close()
	got, err := io.ReadAll(r)
	if err != nil || string(got) != "web: one\nweb: two\n" {
		t.Errorf("%q, %v", got, err)
	}
}
