package stage1

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/tests/box"
)

func newLogPod(t testing.TB, dir string) *pods.Draft {
	t.Helper()
	d, err := pods.In(dir).Draft(pods.NewUUID())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestLogFile(t *testing.T) {
	d := newLogPod(t, t.TempDir())
	log := newLogFile(d.Pod, "web")
	log.stream("stdout").writeLine([]byte("hello"), false)
	log.stream("stderr").writeLine([]byte("par"), true)
	if err := log.close(); err != nil {
		t.Fatal(err)
	}
	data, err := d.Root().ReadFile("logs/web.log")
	if err != nil {
		t.Fatal(err)
	}
	stamp := `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z`
	if want := regexp.MustCompile(`^` + stamp + ` stdout F hello\n` + stamp + ` stderr P par\n$`); !want.Match(data) {
		t.Errorf("log is %q", data)
	}
	if _, err := d.Dropped("web"); !os.IsNotExist(err) {
		t.Errorf("dropped: %v", err)
	}
}

// A log never grows beyond two files, and what it keeps are whole lines, the newest. What it does not keep is counted, to the line.
func TestLogRotates(t *testing.T) {
	for _, length := range []int{1, 100, maxLine - 1} {
		d := newLogPod(t, t.TempDir())
		log := newLogFile(d.Pod, "web")
		lines := 5 * maxLog / (length + 40)
		line := append(bytes.Repeat([]byte("z"), length), '\n')
		r, w := io.Pipe()
		go func() {
			for range lines - 1 {
				_, _ = w.Write(line)
			}
			_, _ = w.Write([]byte("last\n"))
			_ = w.Close()
		}()
		copyLines(&chunks{r: r, size: maxLine}, []lineWriter{log.stream("stdout")})
		if err := log.close(); err != nil {
			t.Fatal(err)
		}
		kept := 0
		for _, name := range []string{"logs/web.log.1", "logs/web.log"} {
			data, err := d.Root().ReadFile(name)
			if err != nil || len(data) > maxLog || !bytes.HasSuffix(data, []byte("\n")) {
				t.Fatalf("%s: %d bytes, %v", name, len(data), err)
			}
			kept += bytes.Count(data, []byte("\n"))
			if name == "logs/web.log" && !bytes.HasSuffix(data, []byte("stdout F last\n")) {
				t.Error("the last line is missing")
			}
		}
		dropped, err := d.Dropped("web")
		if err != nil || int(dropped.Lines)+kept != lines || dropped.Bytes < dropped.Lines*uint64(length) {
			t.Errorf("lines of %d bytes: %d kept, %+v dropped of %d, %v", length, kept, dropped, lines, err)
		}
		entries, err := os.ReadDir(filepath.Join(d.Path(), "logs"))
		if err != nil || len(entries) != 3 {
			t.Errorf("files %v, %v", entries, err)
		}
	}
}

// chunks collects what a pipe would have collected.
type chunks struct {
	r    io.Reader
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	return io.ReadAtLeast(c.r, p, min(len(p), c.size/2))
}

// A full disk loses lines, counts them, tears none that it keeps, and the log goes on when there is room again.
func TestLogDiskFull(t *testing.T) {
	if !box.Enter(t) {
		return
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	d := newLogPod(t, dir)
	log := newLogFile(d.Pod, "web")
	out := log.stream("stdout")
	write := func(n int) {
		for range n {
			out.writeLine([]byte(strings.Repeat("x", 999)), false)
			out.flush()
		}
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 100<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	write(300)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	write(20)
	if err := log.close(); err == nil || !strings.Contains(err.Error(), "output is lost") {
		t.Errorf("close: %v", err)
	}
	data, err := d.Root().ReadFile("logs/web.log")
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for line := range strings.Lines(string(data)) {
		if strings.HasSuffix(line, " stdout F "+strings.Repeat("x", 999)+"\n") {
			whole++
		}
	}
	if dropped, err := d.Dropped("web"); err != nil || int(dropped.Lines)+whole != 320 || dropped.Lines == 0 {
		t.Errorf("%d whole lines, dropped %+v, %v", whole, dropped, err)
	}
}

func BenchmarkLog(b *testing.B) {
	for name, line := range map[string]string{"yes": "y\n", "100": strings.Repeat("z", 99) + "\n"} {
		b.Run(name, func(b *testing.B) {
			d := newLogPod(b, b.TempDir())
			log := newLogFile(d.Pod, "web")
			input := strings.Repeat(line, 1<<20/len(line))
			b.SetBytes(int64(len(input)))
			for b.Loop() {
				copyLines(strings.NewReader(input), []lineWriter{log.stream("stdout")})
			}
			_ = log.close()
		})
	}
}
