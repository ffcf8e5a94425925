package aci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ulikunitz/xz"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/appc"
)

var amd64 = ocispec.Platform{OS: "linux", Architecture: "amd64"}

const goodManifest = `{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app"}`

// with adds fields to the manifest.
func with(more string) string { return goodManifest[:len(goodManifest)-1] + "," + more + "}" }

func app(more string) string {
	return with(`"app":{"exec":["/a"],"user":"0","group":"0"` + more + `}`)
}

// entry of a crafted archive.
type entry struct {
	tar.Header
	content string
}

func reg(name, content string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, content}
}

func link(kind byte, name, target string) entry {
	return entry{tar.Header{Name: name, Typeflag: kind, Linkname: target}, ""}
}

func dir(name string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}, ""}
}

func archiveOf(t testing.TB, list ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range list {
		e.Size = int64(len(e.content))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

func open(data []byte) File { return memory{bytes.NewReader(data)} }

// convert one archive without dependencies; what became of it.
func convert(t testing.TB, data []byte, limit int64) (*Image, []*bytes.Buffer, error) {
	var layers []*bytes.Buffer
	img, err := Convert(t.Context(), open(data), Env{
		Platform: amd64, Limit: func(int64) int64 { return limit },
		Create: func() (io.Writer, error) { layers = append(layers, &bytes.Buffer{}); return layers[len(layers)-1], nil },
	})
	return img, layers, err
}

func TestConvert(t *testing.T) {
	_, layers, err := convert(t, archiveOf(t,
		dir("./rootfs"), dir("rootfs/etc/"), reg("rootfs/etc/passwd", "x"), link(tar.TypeLink, "rootfs/p", "rootfs/etc/passwd"),
		link(tar.TypeSymlink, "rootfs/s", "../../outside"), link(tar.TypeFifo, "rootfs/f", ""),
		entry{tar.Header{Name: "rootfs/x", Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}}, "y"},
		reg("manifest", app("")), // last, as some tools write it
	), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(layers[0]); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%c %s %s %v", h.Typeflag, h.Name, h.Linkname, h.PAXRecords["SCHILY.xattr.user.a"]))
	}
	want := []string{"5 ./  ", "5 etc/  ", "0 etc/passwd  ", "1 p etc/passwd ", "2 s ../../outside ", "6 f  ", "0 x  b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestConvertRefuses(t *testing.T) {
	m := reg("manifest", goodManifest)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(archiveOf(t, m, reg("rootfs/zeros", strings.Repeat("\x00", 8<<20))))
	_ = z.Close()
	for name, tc := range map[string]struct {
		data []byte
		want error
	}{
		"nothing":             {nil, appc.ErrInvalid},
		"text":                {[]byte(strings.Repeat("hello ", 200)), appc.ErrInvalid},
		"no manifest":         {archiveOf(t, reg("rootfs/a", "a")), appc.ErrInvalid},
		"two manifests":       {archiveOf(t, m, m), appc.ErrInvalid},
		"manifest is a link":  {archiveOf(t, link(tar.TypeSymlink, "manifest", "rootfs/a"), reg("rootfs/a", goodManifest)), appc.ErrInvalid},
		"manifest too large":  {archiveOf(t, reg("manifest", goodManifest+strings.Repeat(" ", appc.MaxManifest))), appc.ErrInvalid},
		"outside":             {archiveOf(t, m, reg("etc/passwd", "x")), appc.ErrInvalid},
		"beside":              {archiveOf(t, m, reg("rootfs2/x", "x")), appc.ErrInvalid},
		"climbs":              {archiveOf(t, m, reg("rootfs/../../etc/passwd", "x")), appc.ErrInvalid},
		"climbs first":        {archiveOf(t, m, reg("../rootfs/x", "x")), appc.ErrInvalid},
		"absolute":            {archiveOf(t, m, reg("/rootfs/x", "x")), appc.ErrInvalid},
		"dots":                {archiveOf(t, m, reg("rootfs/./x", "x")), appc.ErrInvalid},
		"double slash":        {archiveOf(t, m, reg("rootfs//x", "x")), appc.ErrInvalid},
		"rootfs is a link":    {archiveOf(t, m, link(tar.TypeSymlink, "rootfs", "/")), appc.ErrInvalid},
		"rootfs is a file":    {archiveOf(t, m, reg("rootfs", "x")), appc.ErrInvalid},
		"hard link outside":   {archiveOf(t, m, link(tar.TypeLink, "rootfs/x", "manifest")), appc.ErrInvalid},
		"hard link absolute":  {archiveOf(t, m, link(tar.TypeLink, "rootfs/x", "/etc/shadow")), appc.ErrInvalid},
		"hard link climbs":    {archiveOf(t, m, link(tar.TypeLink, "rootfs/x", "rootfs/../manifest")), appc.ErrInvalid},
		"whiteout":            {archiveOf(t, m, reg("rootfs/etc/.wh.passwd", "")), appc.ErrInvalid},
		"opaque whiteout":     {archiveOf(t, m, reg("rootfs/etc/.wh..wh..opq", "")), appc.ErrInvalid},
		"unknown type":        {archiveOf(t, m, entry{tar.Header{Name: "rootfs/x", Typeflag: 'Z'}, ""}), appc.ErrInvalid},
		"global header":       {archiveOf(t, entry{tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"path": "x"}}, ""}, m), appc.ErrInvalid},
		"cut":                 {archiveOf(t, m, reg("rootfs/a", strings.Repeat("a", 2000)))[:2000], appc.ErrInvalid},
		"other platform":      {archiveOf(t, reg("manifest", with(`"labels":[{"name":"os","value":"freebsd"}]`))), image.ErrPlatform},
		"unknown arch":        {archiveOf(t, reg("manifest", with(`"labels":[{"name":"arch","value":"x86"}]`))), appc.ErrInvalid},
		"bomb":                {bomb.Bytes(), image.ErrLimit},
		"gzip cut":            {bomb.Bytes()[:1000], appc.ErrInvalid},
		"gzip of nothing":     {[]byte("\x1f\x8b"), appc.ErrInvalid},
		"bzip2 of nothing":    {[]byte("BZh9"), appc.ErrInvalid},
		"xz of nothing":       {[]byte("\xfd7zXZ\x00"), appc.ErrInvalid},
		"xz with 4 GiB table": {hugeDict(t), image.ErrLimit},
	} {
		t.Run(name, func(t *testing.T) {
			if img, _, err := convert(t, tc.data, 4<<20); !errors.Is(err, tc.want) {
				t.Errorf("got %v, %v: want %v", img, err, tc.want)
			}
		})
	}
}

// hugeDict is an xz file whose block asks for a dictionary of 4 GiB.
func hugeDict(t testing.TB) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := xz.NewWriter(&buf)
	if err == nil {
		_, err = w.Write(archiveOf(t, reg("manifest", goodManifest)))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	data := buf.Bytes()
	i := bytes.Index(data[12:], []byte{0x21, 1})
	data[12+i+2] = 40
	return data
}

func TestParseName(t *testing.T) {
	got, err := ParseName("aci:example.com/app:1.0,os=linux,arch=amd64")
	want := Wanted{"example.com/app", []appc.Pair{{Name: "version", Value: "1.0"}, {Name: "os", Value: "linux"}, {Name: "arch", Value: "amd64"}}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, s := range []string{"aci:", "aci:/x", "aci:a//b", "aci:a/../b", "aci:A", "aci:a,b", "aci:a,=b", "aci:a:1,version=2", "aci:a@b", "aci:a b", "aci:a?x"} {
		if w, err := ParseName(s); !errors.Is(err, appc.ErrInvalid) {
			t.Errorf("%q: %+v, %v", s, w, err)
		}
	}
}

func TestTemplates(t *testing.T) {
	meta := func(content string) string { return `<meta name="ac-discovery" content="` + content + `">` }
	const good = "https://x.example/{name}-{version}-{os}-{arch}.{ext}"
	for name, tc := range map[string]struct {
		page string
		want []string
	}{
		"one":             {meta("example.com " + good), []string{"https://x.example/example.com/app-1-linux-amd64.aci"}},
		"two":             {meta("example.com/app https://a.example/{name}") + meta("example.com https://b.example/{ext}"), []string{"https://a.example/example.com/app", "https://b.example/aci"}},
		"in a page":       {"<!doctype html><html><head><title>x</title>" + meta("example.com "+good) + "</head><body>", []string{"https://x.example/example.com/app-1-linux-amd64.aci"}},
		"in the body":     {"<html><body>" + meta("example.com "+good), nil},
		"in a comment":    {"<!-- " + meta("example.com "+good) + " -->", nil},
		"in a title":      {"<title>" + meta("example.com "+good) + "</title>", nil},
		"sibling":         {meta("example.com/ap " + good), nil},
		"other":           {meta("evil.com " + good), nil},
		"http":            {meta("example.com http://x.example/{name}"), nil},
		"file":            {meta("example.com file:///etc/passwd"), nil},
		"no host":         {meta("example.com https:///x"), nil},
		"user":            {meta("example.com https://u:p@x.example/x"), nil},
		"unknown":         {meta("example.com https://x.example/{home}"), nil},
		"unclosed":        {meta("example.com https://x.example/{name"), nil},
		"three words":     {meta("example.com https://x.example/ y"), nil},
		"keys":            {`<meta name="ac-discovery-pubkeys" content="example.com https://x.example/k">`, nil},
		"attribute twice": {`<meta name="ac-discovery" name="x" content="a b" content="example.com ` + good + `">`, nil},
		"empty":           {"", nil},
	} {
		w := Wanted{"example.com/app", []appc.Pair{{Name: "version", Value: "1"}}}
		var got []string
		for _, e := range w.render(templates([]byte(tc.page), w.Name), amd64, []string{"https"}) {
			got = append(got, e.ACI)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	w := Wanted{"example.com/app", []appc.Pair{{Name: "version", Value: "../../x?y#z"}}}
	list := w.render([]string{good}, amd64, []string{"https"})
	if len(list) != 1 || strings.Contains(list[0].ACI, "../") || strings.ContainsAny(list[0].ACI, "?#") {
		t.Errorf("a version that is more: %+v", list)
	}
}

func FuzzDiscovery(f *testing.F) {
	f.Add([]byte(`<meta name="ac-discovery" content="example.com https://x.example/{name}.{ext}">`), "aci:example.com/app:1")
	f.Fuzz(func(t *testing.T, page []byte, name string) {
		w, err := ParseName(name)
		if err != nil {
			return
		}
		for _, e := range w.render(templates(page, w.Name), amd64, []string{"https"}) {
			if !strings.HasPrefix(e.ACI, "https://") || strings.ContainsAny(e.ACI, " \n") {
				t.Errorf("%q leads to %q", name, e.ACI)
			}
		}
	})
}

func FuzzConvert(f *testing.F) {
	f.Add(archiveOf(f, reg("manifest", goodManifest), dir("rootfs"), reg("rootfs/a", "a")))
	f.Fuzz(func(t *testing.T, data []byte) {
		img, layers, err := convert(t, data, 1<<20)
		if err != nil {
			return
		}
		if len(img.Layers) != 1 || int64(layers[0].Len()) != img.Layers[0].Size || img.Layers[0].Size > 1<<20 {
			t.Errorf("layers %+v", img.Layers)
		}
	})
}
