package layer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/craft"
)

// bigLayer is the tar of a layer of n files in directories of 100, as a distribution has them.
func bigLayer(t testing.TB, n int) []byte {
	members := make([]member, 0, n+n/100+1)
	for k := range n {
		if k%100 == 0 {
			members = append(members, dir(fmt.Sprintf("usr/share/package-%d", k/100), 0o755))
		}
		m := file(fmt.Sprintf("usr/share/package-%d/file-%d.py", k/100, k), "print(1)")
		m.ModTime = when.Truncate(time.Second)
		members = append(members, m)
	}
	return archive(t, members...)
}

func TestSixtyLayers(t *testing.T) {
	var tars [][]byte
	for k := range 60 {
		members := []member{dir("etc", 0o755), file("etc/version", fmt.Sprint(k)), file(fmt.Sprintf("layer-%d/own", k), fmt.Sprint(k))}
		if k > 0 {
			members = append(members, hardlink(fmt.Sprintf("links/%d", k), fmt.Sprintf("layer-%d/own", k-1)), hide(fmt.Sprintf(".wh.layer-%d", k/2)))
		}
		tars = append(tars, archive(t, members...))
	}
	s, err := scanAll(t, tars...)
	if err != nil {
		t.Fatal(err)
	}
	ours := s.everyWay(t)
	theirs, err := byUmoci(t, tars...)
	if err != nil {
		t.Fatal(err)
	}
	sameAs(t, "umoci", ours, theirs)
}

// One directory of 100,000 names, and as many in directories of 100.
func TestHundredThousandEntries(t *testing.T) {
	flat := make([]member, 0, 50_000)
	for k := range 50_000 {
		m := file(fmt.Sprintf("flat/%x", uint32(k)*2654435761), "")
		m.ModTime = when.Truncate(time.Second)
		flat = append(flat, m)
	}
	s, err := scanAll(t, archive(t, flat...), bigLayer(t, 50_000))
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if s.tree, err = Merge(s.layers); err != nil {
		t.Fatal(err)
	}
	s.index(t)
	t.Logf("merge and write index of %d names: %v", s.tree.Names, time.Since(begin))
	mounted, err := os.ReadDir(s.mount(t) + "flat")
	if err != nil || len(mounted) != 50_000 {
		t.Errorf("the kernel reads %d names, %v", len(mounted), err)
	}
	for _, e := range []string{"flat/0", "usr/share/package-499/file-49999.py"} {
		if _, err := os.Stat(filepath.Join(s.mount(t), e)); err != nil {
			t.Error(err)
		}
	}
}

// Time is linear in the number of entries, whatever shape they have.
func TestLinear(t *testing.T) {
	shapes := map[string]func(k int) member{
		"files of one directory":      func(k int) member { return file(fmt.Sprintf("d/%d", k), "") },
		"directories":                 func(k int) member { return file(fmt.Sprintf("%d/%d/f", k%300, k), "") },
		"one name":                    func(int) member { return file("d/f", "") },
		"hard links to one file":      func(k int) member { return hardlink(fmt.Sprintf("h/%d", k), "d/f") },
		"whiteouts of nothing":        func(k int) member { return hide(fmt.Sprintf("d/.wh.%d", k)) },
		"whiteouts of one directory":  func(k int) member { return []member{file(fmt.Sprintf("d/e/%d", k), ""), hide(".wh.d")}[k%2] },
		"opaque directories":          func(k int) member { return []member{file(fmt.Sprintf("d/e/%d", k), ""), hide("d/.wh..wh..opq")}[k%2] },
		"through a symlink":           func(k int) member { return file(fmt.Sprintf("s/s/s/%d", k), "") },
		"through a symlink, changing": func(k int) member { return []member{file(fmt.Sprintf("s/%d", k), ""), symlink("s", ".")}[k%2] },
		"sparse and warnings":         func(k int) member { return file(fmt.Sprintf("d/%d", k), "").xattr(fmt.Sprintf("trusted.%d", k), "") },
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			linear(t, 2_000, func(n int) func() {
				members := []member{file("d/f", "x"), symlink("s", ".")}
				for k := range n {
					m := shape(k)
					m.ModTime = when.Truncate(time.Second) // no PAX headers, which cost more than all else
					members = append(members, m)
				}
				b := archive(t, members...)
				return func() {
					l, err := Scan(bytes.NewReader(b), Limits{})
					if err != nil {
						t.Fatal(err)
					}
					if _, err := Merge([]*Layer{l}); err != nil {
						t.Fatal(err)
					}
				}
			})
		})
	}
}

// So is the time of an index of a sparse file each of whose chunks has to be copied.
func TestLinearSparse(t *testing.T) {
	linear(t, 30_000, func(n int) func() {
		var sparseMap strings.Builder
		fmt.Fprintf(&sparseMap, "%d\n", n)
		for k := range n {
			fmt.Fprintf(&sparseMap, "%d\n64\n", k*512)
		}
		body := string(craft.Padded(sparseMap.String())) + strings.Repeat("x", n*64)
		tar := craft.Raw(craft.PAX('x', "GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=s", fmt.Sprintf("GNU.sparse.realsize=%d", n*512)),
			craft.Block{Size: fmt.Sprintf("%011o\x00", len(body)), Type: '0'}.Bytes(), craft.Padded(body))
		l, err := Scan(bytes.NewReader(tar), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		tree, err := Merge([]*Layer{l})
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			fd, err := unix.MemfdCreate("index", unix.MFD_CLOEXEC) // the disk has its own time
			if err != nil {
				t.Fatal(err)
			}
			index := os.NewFile(uintptr(fd), "index")
			defer index.Close()
			if err := tree.WriteErofs(index, []TarDevice{{Size: int64(len(tar)), Data: bytes.NewReader(tar)}}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// linear runs what prepare makes of n, and of four times as much.
func linear(t *testing.T, n int, prepare func(n int) func()) {
	t.Helper()
	measure := func(n int) time.Duration {
		run, best := prepare(n), time.Hour
		for range 3 {
			begin := cpuTime(t)
			run()
			best = min(best, cpuTime(t)-begin)
		}
		return best
	}
	one, four := measure(n), measure(4*n)
	// Quadratic would be 16 times as long. Small and busy machines need room.
	if four > 9*one+10*time.Millisecond {
		t.Errorf("%d take %v, %d take %v", n, one, 4*n, four)
	}
}

// cpuTime is what this process has used: other work on the machine does not count.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A path that costs thousands of steps, a thousand times: bounded.
func TestPathsThroughLinks(t *testing.T) {
	long := ""
	for range 1300 {
		long += "../d/"[:3]
	}
	members := []member{dir("d", 0o755)}
	for k := range 39 {
		members = append(members, symlink(fmt.Sprintf("s%d", k), long+fmt.Sprintf("s%d", k+1)))
	}
	members = append(members, symlink("s39", "d"))
	for k := range 2000 {
		members = append(members, file(fmt.Sprintf("s0/%d", k), ""), file(fmt.Sprintf("d/%d", k), ""))
	}
	l, err := Scan(bytes.NewReader(archive(t, members...)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Merge([]*Layer{l}); !errors.Is(err, ErrLimit) {
		t.Errorf("got %v, want a limit", err)
	}
}

// What an image may make of little is bounded too: directories that its entries only imply, and one layer many times.
func TestImageLimits(t *testing.T) {
	var deep []member
	for k := range 600 {
		deep = append(deep, file(fmt.Sprintf("%d/", k)+strings.Repeat("d/", 2030)+"f", ""))
	}
	var flat []member
	for k := range 20_000 {
		flat = append(flat, file(fmt.Sprint(k), ""))
	}
	for name, c := range map[string]struct {
		members []member
		times   int
		want    string
	}{
		"implied directories": {deep, 1, "directories that have no entry"},
		"one layer again":     {flat, 1000, "entries"},
	} {
		l, err := Scan(bytes.NewReader(archive(t, c.members...)), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Merge(slices.Repeat([]*Layer{l}, c.times)); !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want a limit", name, err)
		}
	}
}

func BenchmarkScan10k(b *testing.B) {
	tar := bigLayer(b, 10_000)
	b.SetBytes(int64(len(tar)))
	for b.Loop() {
		if _, err := Scan(bytes.NewReader(tar), Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

// What fetch pays for file data: files of 1 MiB.
func BenchmarkScanData(b *testing.B) {
	body := string(make([]byte, 1<<20))
	var members []member
	for k := range 256 {
		members = append(members, file(fmt.Sprint(k), body))
	}
	tar := archive(b, members...)
	b.SetBytes(int64(len(tar)))
	for b.Loop() {
		// Hide WriterTo and the like: fetch hands a TeeReader.
		if _, err := Scan(struct{ io.Reader }{bytes.NewReader(tar)}, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkIndex(b *testing.B, n int) {
	tar := bigLayer(b, n)
	f, err := os.OpenFile(filepath.Join(b.TempDir(), "index"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for b.Loop() {
		l, err := Scan(bytes.NewReader(tar), Limits{})
		if err != nil {
			b.Fatal(err)
		}
		tree, err := Merge([]*Layer{l})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
		if err := tree.WriteErofs(f, []TarDevice{{Size: l.Size}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIndex10k(b *testing.B)  { benchmarkIndex(b, 10_000) }
func BenchmarkIndex100k(b *testing.B) { benchmarkIndex(b, 100_000) }

func BenchmarkDecodeMergeWrite100k(b *testing.B) {
	l, err := Scan(bytes.NewReader(bigLayer(b, 100_000)), Limits{})
	if err != nil {
		b.Fatal(err)
	}
	var encoded bytes.Buffer
	if err := l.Encode(&encoded); err != nil {
		b.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(b.TempDir(), "index"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.ReportMetric(float64(encoded.Len()), "index-bytes")
	for b.Loop() {
		l, err := Decode(bytes.NewReader(encoded.Bytes()))
		if err != nil {
			b.Fatal(err)
		}
		tree, err := Merge([]*Layer{l})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
		if err := tree.WriteErofs(f, []TarDevice{{Size: l.Size}}); err != nil {
			b.Fatal(err)
		}
	}
}
