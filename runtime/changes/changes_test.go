package changes

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// upper makes a directory as overlayfs leaves it.
func upper(t *testing.T) (*os.Root, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes devices and trusted attributes")
	}
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root, dir
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestWriteLayer(t *testing.T) {
	root, dir := upper(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t,
		os.Mkdir(at("opaque"), 0o755), unix.Setxattr(at("opaque"), "trusted.overlay.opaque", []byte("y"), 0),
		os.WriteFile(at("opaque/file"), []byte("text"), 0o640), unix.Setxattr(at("opaque/file"), "user.mine", []byte("\x00value"), 0),
		unix.Setxattr(at("opaque/file"), "trusted.overlay.origin", []byte("x"), 0),
		unix.Mknod(at("gone"), unix.S_IFCHR, 0),
		unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		unix.Mkfifo(at("fifo"), 0o600),
		os.Symlink("/etc/shadow", at("link")),
		os.Link(at("opaque/file"), at("second")),
	)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err, unix.Bind(fd, &unix.SockaddrUnix{Name: at("socket")}), unix.Close(fd))
	var out bytes.Buffer
	must(t, WriteLayer(&out, root, 0))
	var got []string
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		data, err := io.ReadAll(r)
		must(t, err)
		got = append(got, fmt.Sprintf("%c %s %o %s %d:%d %q %q", h.Typeflag, h.Name, h.Mode, h.Linkname, h.Devmajor, h.Devminor, data, h.PAXRecords["SCHILY.xattr.user.mine"]))
		for k := range h.PAXRecords {
			if strings.Contains(k, "trusted.overlay") {
				t.Errorf("%s: attribute %s", h.Name, k)
			}
		}
	}
	want := []string{
		`6 fifo 600  0:0 "" ""`,
		`0 .wh.gone 0  0:0 "" ""`,
		`2 link 777 /etc/shadow 0:0 "" ""`,
		`3 null 644  1:3 "" ""`,
		`5 opaque/ 755  0:0 "" ""`,
		`0 opaque/.wh..wh..opq 0  0:0 "" ""`,
		`0 opaque/file 640  0:0 "text" "\x00value"`,
		`1 second 640 opaque/file 0:0 "" ""`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What a layer cannot say is refused, not left out.
func TestWriteLayerRefuses(t *testing.T) {
	for _, c := range []struct {
		name, want string
		make       func(dir string) error
	}{
		{"a name that would be a whiteout", "cannot hold", func(dir string) error { return os.WriteFile(filepath.Join(dir, ".wh.passwd"), nil, 0o600) }},
		{"a directory that was renamed", "refers to the image", func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "d"), 0o700), unix.Setxattr(filepath.Join(dir, "d"), redirectAttr, []byte("/old"), 0))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, dir := upper(t)
			must(t, c.make(dir))
			if err := WriteLayer(io.Discard, root, 0); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
