package aci

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"github.com/gantryrun/gantry/image"
)

// blocks makes an xz file of several blocks.
func blocks(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.WriterConfig{BlockSize: 5000}.NewWriter(&b)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestXZBlocks: the dictionary of every block is bounded, not of the first alone.
func TestXZBlocks(t *testing.T) {
	file := blocks(t, archiveOf(t, reg("manifest", goodManifest), reg("rootfs/a", strings.Repeat("abc", 10_000))))
	at := bytes.LastIndex(file, []byte{0x21, 1})
	if at < 100 || bytes.Count(file, []byte{0x21, 1}) < 3 {
		t.Fatal("the file has too few blocks")
	}
	if _, _, err := convert(t, file, 4<<20); err != nil {
		t.Errorf("as it should be: %v", err)
	}
	file[at+2] = 40
	if _, _, err := convert(t, file, 4<<20); !errors.Is(err, image.ErrLimit) {
		t.Errorf("a late block with a table of 4 GiB: %v", err)
	}
}

// TestXZGuardPasses: what the program xz writes comes out as it went in.
func TestXZGuardPasses(t *testing.T) {
	if _, err := exec.LookPath("xz"); err != nil {
		t.Skipf("skipped: no xz: %v", err)
	}
	plain := []byte(strings.Repeat("some text, and more of it; ", 20_000))
	var all []byte
	for _, flags := range [][]string{{"-9"}, {"-0", "-T2", "--block-size=65536"}, {"-C", "none"}, {"-C", "crc32", "-T2"}, {"-C", "sha256"}, {"-1", "--block-list=1000,0"}} {
		cmd := exec.CommandContext(t.Context(), "xz", append(flags, "-c")...)
		cmd.Stdin = bytes.NewReader(plain)
		file, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(newXZGuard(bufio.NewReader(bytes.NewReader(file)))); err != nil || !bytes.Equal(got, file) {
			t.Errorf("xz %v: %d of %d bytes, %v", flags, len(got), len(file), err)
		}
		all = append(append(all, file...), make([]byte, 8)...)
	}
	if got, err := io.ReadAll(newXZGuard(bufio.NewReader(bytes.NewReader(all)))); err != nil || !bytes.Equal(got, all) {
		t.Errorf("one behind the other: %d of %d bytes, %v", len(got), len(all), err)
	}
}

// FuzzXZGuard: it hands out the file, or its beginning, and nothing else.
func FuzzXZGuard(f *testing.F) {
	f.Add(blocks(f, []byte(strings.Repeat("a", 12_000))))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := io.ReadAll(newXZGuard(bufio.NewReader(bytes.NewReader(data))))
		if len(got) > len(data) || err == nil && len(got) != len(data) {
			t.Errorf("%d bytes of %d, %v", len(got), len(data), err)
		}
	})
}
