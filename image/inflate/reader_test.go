package inflate_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gantryrun/gantry/image/inflate"
)

// samples are what layers hold: text, machine code, what does not compress, what compresses very well.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, name := range sources {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, data...)
	}
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 700<<10)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	few := make([]byte, 300<<10) // long codes: symbols whose frequencies differ by much
	for i := range few {
		few[i] = byte(random.ExpFloat64() * 12)
	}
	repeats := []byte{}
	for distance := range 40 {
		repeats = append(repeats, bytes.Repeat(noise[distance:2*distance+1], 50)...)
	}
	return map[string][]byte{
		"empty": {}, "byte": {7}, "program": program[:min(len(program), 3<<20)], "text": text, "noise": noise, "few": few,
		"zeros": make([]byte, 2<<20), "repeats": repeats,
		"window": append(append(bytes.Clone(noise[:32<<10]), noise[:32<<10]...), noise[1:300]...),
	}
}

// TestLevels reads what the standard library wrote at each level, through readers that give as little as they may.
func TestLevels(t *testing.T) {
	for name, want := range samples(t) {
		for level := gzip.HuffmanOnly; level <= gzip.BestCompression; level++ {
			packed := pack(t, want, level)
			for _, src := range []io.Reader{
				bytes.NewReader(packed), iotest.DataErrReader(bytes.NewReader(packed)), iotest.HalfReader(bytes.NewReader(packed)),
			} {
				got, err := io.ReadAll(inflate.NewReader(src))
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s, level %d, %T: %d of %d bytes, error %v", name, level, src, len(got), len(want), err)
				}
			}
		}
	}
}

// TestMembers: a stream may be of several, and a match never reaches into the member before.
func TestMembers(t *testing.T) {
	text := []byte(strings.Repeat("one member ", 100))
	one := pack(t, text, 9)
	got, err := io.ReadAll(inflate.NewReader(iotest.OneByteReader(bytes.NewReader(append(bytes.Clone(one), one...)))))
	if err != nil || string(got) != string(text)+string(text) {
		t.Errorf("two members: %d bytes, error %v", len(got), err)
	}
	// a fixed block whose first symbol is a match: length 3, distance 1
	reach := []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 0x03, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for name, stream := range map[string][]byte{"first member": reach, "second member": append(bytes.Clone(one), reach...)} {
		if _, err := io.ReadAll(inflate.NewReader(bytes.NewReader(stream))); !errors.Is(err, inflate.ErrCorrupt) {
			t.Errorf("match before the %s: error %v", name, err)
		}
	}
}

// TestHeader: all fields that a header may have.
func TestHeader(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Name, w.Comment, w.Extra = "name", "comment", []byte("extra")
	if _, err := w.Write([]byte("text")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(inflate.NewReader(&b)); err != nil || string(got) != "text" {
		t.Errorf("got %q, error %v", got, err)
	}
}

// TestBroken: every truncation of a stream is seen as one, and every flipped bit of its data and trailer is seen.
func TestBroken(t *testing.T) {
	text := []byte(strings.Repeat("a stream that is cut, or bent. ", 20))
	packed := pack(t, text, 6)
	for n := range packed {
		if _, err := io.ReadAll(inflate.NewReader(bytes.NewReader(packed[:n]))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d of %d bytes: error %v", n, len(packed), err)
		}
	}
	for bit := 10 * 8; bit < len(packed)*8; bit++ { // the header has bits that mean nothing
		bent := bytes.Clone(packed)
		bent[bit/8] ^= 1 << (bit % 8)
		if _, err := io.ReadAll(inflate.NewReader(bytes.NewReader(bent))); err == nil {
			t.Errorf("bit %d flipped: no error", bit)
		}
	}
	if _, err := io.ReadAll(inflate.NewReader(bytes.NewReader(append(packed, "more"...)))); !errors.Is(err, inflate.ErrHeader) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("bytes after the end: error %v", err)
	}
	lost := errors.New("lost")
	if _, err := io.ReadAll(inflate.NewReader(io.MultiReader(bytes.NewReader(packed[:40]), iotest.ErrReader(lost)))); !errors.Is(err, lost) {
		t.Errorf("source fails: error %v", err)
	}
}

// FuzzReader compares with the standard library: the same bytes, and an error where it has one.
func FuzzReader(f *testing.F) {
	for _, text := range []string{"", "a", strings.Repeat("abc", 400), "stored? \x00\x01\x02\x03"} {
		for _, level := range []int{gzip.HuffmanOnly, gzip.NoCompression, gzip.BestSpeed, gzip.BestCompression} {
			packed := pack(f, []byte(text), level)
			f.Add(packed[headerSize:len(packed)-8], byte(0))
			f.Add(packed[headerSize:len(packed)-8], byte(3))
		}
	}
	f.Fuzz(func(t *testing.T, blocks []byte, step byte) {
		rest := bytes.NewReader(blocks)
		want, wantErr := io.ReadAll(flate.NewReader(rest))
		var src io.Reader = bytes.NewReader(member(blocks[:len(blocks)-rest.Len()], want))
		if step > 0 {
			src = &stepReader{src, int(step)}
		}
		got, err := io.ReadAll(inflate.NewReader(src))
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("error %v, of the standard library %v", err, wantErr)
		}
		if !bytes.HasPrefix(want, got) && !bytes.HasPrefix(got, want) || err == nil && len(got) != len(want) {
			t.Fatalf("got %d bytes, want %d, or others", len(got), len(want))
		}
	})
}

const headerSize = 10

// member puts a header before blocks, and after them what their content asks for.
func member(blocks, content []byte) []byte {
	m := append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}, blocks...)
	m = binary.LittleEndian.AppendUint32(m, crc32.ChecksumIEEE(content))
	return binary.LittleEndian.AppendUint32(m, uint32(len(content))) //nolint:gosec // small
}

type stepReader struct {
	r    io.Reader
	step int
}

func (s *stepReader) Read(p []byte) (int, error) { return s.r.Read(p[:min(s.step, len(p))]) }

func pack(t testing.TB, data []byte, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func BenchmarkReader(b *testing.B) {
	want := samples(b)["program"]
	packed := pack(b, want, 6)
	b.SetBytes(int64(len(want)))
	for b.Loop() {
		if _, err := io.Copy(io.Discard, inflate.NewReader(bytes.NewReader(packed))); err != nil {
			b.Fatal(err)
		}
	}
}
