package stage1

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
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
	_ = w.Close()
	got, err := io.ReadAll(r)
	if err != nil || string(got) != "web: one\nweb: two\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestLogFile(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	log := newLogFile(root, "web")
	log.stream("stdout").writeLine([]byte("hello"), false)
	log.stream("stderr").writeLine([]byte("par"), true)
	if err := log.close(); err != nil {
		t.Fatal(err)
	}
	data, err := root.ReadFile("logs/web.log")
	if err != nil {
		t.Fatal(err)
	}
	stamp := `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z`
	if want := regexp.MustCompile(`^` + stamp + ` stdout F hello\n` + stamp + ` stderr P par\n$`); !want.Match(data) {
		t.Errorf("log is %q", data)
	}
}

// A log never grows beyond two files, and what it keeps are whole lines, the newest.
func TestLogRotates(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	log := newLogFile(root, "web")
	line := bytes.Repeat([]byte("z"), maxLine)
	for range 3 * maxLog / maxLine {
		log.stream("stdout").writeLine(line, false)
	}
	log.stream("stdout").writeLine([]byte("last"), false)
	if err := log.close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "logs"))
	if err != nil || len(entries) != 2 {
		t.Fatalf("log files %v, %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Size() > maxLog {
			t.Errorf("%s: %v, %v", e.Name(), info.Size(), err)
		}
	}
	data, err := root.ReadFile("logs/web.log")
	if err != nil || !bytes.HasSuffix(data, []byte("stdout F last\n")) {
		t.Errorf("the last line is missing: %v", err)
	}
}
