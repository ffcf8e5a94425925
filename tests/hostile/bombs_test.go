package hostile

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/tests/craft"
)

// zeros64 are 64 MiB of zeros, compressed: as a member of gzip, and a frame of zstd.
var zeros64 = sync.OnceValue(func() (z struct{ gz, zst []byte }) {
	zeros := make([]byte, 64<<20)
	z.gz, z.zst = craft.Gzip(zeros), craft.Zstded(zeros).Blob
	return z
})

// bombs is F6: little that becomes much.
func bombs() []attack {
	layer := func(name, precedent, refuse string, make func() craft.Layer) attack {
		return attack{name: name, row: "F6", precedent: precedent, refuse: refuse, prepare: func(k *kit) []string { return k.put(craft.NewImage(nil, make())) }}
	}
	some := digest.FromString("some").String()
	good := craft.Archive(craft.File("a", "a"))
	zst := func(head string) func() craft.Layer {
		return func() craft.Layer {
			return craft.Layer{Blob: []byte(head), MediaType: ocispec.MediaTypeImageLayerZstd, DiffID: some}
		}
	}
	gz := func(blob []byte, tar []byte) func() craft.Layer {
		return func() craft.Layer {
			return craft.Layer{Blob: blob, MediaType: ocispec.MediaTypeImageLayerGzip, DiffID: digest.FromBytes(tar).String()}
		}
	}
	return []attack{
		layer("gzip of 5 GiB", "CVE-2026-41567", "MaxRatio", func() craft.Layer {
			return craft.Layer{Blob: bytes.Repeat(zeros64().gz, 80), MediaType: ocispec.MediaTypeImageLayerGzip, DiffID: some}
		}),
		layer("zstd of 5 GiB", "CVE-2026-41567", "MaxRatio", func() craft.Layer {
			return craft.Layer{Blob: bytes.Repeat(zeros64().zst, 80), MediaType: ocispec.MediaTypeImageLayerZstd, DiffID: some}
		}),
		layer("gzip of 200,000 members", "CVE-2022-30631", "", gz(bytes.Repeat(craft.Gzip(nil), 200_000), nil)),
		layer("gzip of 200,000 members, and a name each", "CVE-2022-30631", "diffID", func() craft.Layer {
			member := append([]byte("\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xff"), "name\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
			return craft.Layer{Blob: bytes.Repeat(member, 200_000), MediaType: ocispec.MediaTypeImageLayerGzip, DiffID: some}
		}),
		layer("gzip whose name does not end", "CVE-2022-30631", "decompress gzip", gz(append([]byte("\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xff"), strings.Repeat("n", 1<<20)...), nil)),
		layer("gzip with a wrong checksum", "umoci verified reader", "decompress gzip", func() craft.Layer {
			blob := craft.Gzip(good)
			blob[len(blob)-8] ^= 1
			return gz(blob, good)()
		}),
		layer("gzip with a wrong length", "umoci verified reader", "decompress gzip", func() craft.Layer {
			blob := craft.Gzip(good)
			blob[len(blob)-1] ^= 1
			return gz(blob, good)()
		}),
		layer("gzip cut off", "ATTACKS F6: truncated", "decompress gzip", gz(craft.Gzip(good)[:50], good)),
		layer("gzip, then garbage", "ATTACKS F6: trailing garbage", "decompress gzip", gz(append(craft.Gzip(good), "garbage"...), good)),
		layer("gzip of nothing", "ATTACKS F6: truncated", "decompress gzip", gz(nil, nil)),
		layer("no gzip", "ATTACKS F6: other format", "decompress gzip", gz(good, good)),
		layer("zstd, called gzip", "ATTACKS F6: other format", "decompress gzip", gz(craft.Zstded(good).Blob, good)),
		layer("gzip, called zstd", "ATTACKS F6: other format", "decompress zstd", func() craft.Layer {
			return craft.Layer{Blob: craft.Gzip(good), MediaType: ocispec.MediaTypeImageLayerZstd, DiffID: some}
		}),
		layer("zstd with a window of 2 GiB", "ATTACKS F6: window", "limit exceeded", zst("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00")),
		layer("zstd cut off", "ATTACKS F6: truncated", "zstd", zst("\x28\xb5\x2f\xfd\x00")),
		layer("zstd that needs a dictionary", "ATTACKS F6: other format", "zstd", zst("\x28\xb5\x2f\xfd\x23\x01\x02\x03\x04\x00\x01\x00\x00")),
		layer("sparse file of a petabyte", "CVE-2025-58183", "MaxFileSize", func() craft.Layer { return craft.Gzipped(petabyte()) }),
		{name: "appc archive of 2 GiB", row: "F6", precedent: "CVE-2026-41567", refuse: "limit exceeded", prepare: func(k *kit) []string {
			head := craft.Archive(craft.File("manifest", aciManifest("example.com/app", "")))
			head = append(head[:len(head)-1024], craft.Block{Name: "rootfs/zeros", Size: fmt.Sprintf("%011o\x00", 2<<30)}.Bytes()...)
			return []string{"fetch", k.file("x.aci", append(craft.Gzip(head), bytes.Repeat(zeros64().gz, 33)...))}
		}},
		{name: "OCI archive, compressed", row: "F6", precedent: "ATTACKS F6: helper binaries", refuse: "decompress it first", prepare: func(k *kit) []string {
			return []string{"fetch", "oci-archive:" + k.file("x.tar.gz", craft.Gzip(plain().Layout("x")))}
		}},
		{name: "config of 9 MB", row: "F6", precedent: "CVE-2023-25153", refuse: "limit exceeded", prepare: func(k *kit) []string {
			img := plain()
			return k.put(img.WithConfig(append(img.Config, bytes.Repeat([]byte(" "), 9<<20)...)))
		}},
	}
}

func petabyte() []byte {
	return craft.Raw(craft.PAX('x', "GNU.sparse.name=s", "GNU.sparse.size=1125899906842624", "GNU.sparse.numblocks=2", "GNU.sparse.map=0,1,10,1"),
		craft.Block{Size: "00000000002\x00"}.Bytes(), craft.Padded("ab"))
}

// superlinear is F7: what could cost more than its size.
func superlinear() []attack {
	many := func(n int, entry func(n int) craft.Entry) func() [][]byte {
		return func() [][]byte {
			var list []craft.Entry
			for i := range n {
				list = append(list, entry(i))
			}
			return [][]byte{craft.Archive(list...)}
		}
	}
	layers := func(name, precedent, refuse string, tars func() [][]byte) attack {
		return attack{name: name, row: "F7", precedent: precedent, refuse: refuse, prepare: func(k *kit) []string {
			var list []craft.Layer
			for _, tar := range tars() {
				list = append(list, craft.Gzipped(tar))
			}
			return k.put(craft.NewImage(nil, list...))
		}}
	}
	const n = 20_000
	huge := func(kind byte) func() [][]byte {
		return func() [][]byte { return [][]byte{craft.Block{Type: kind, Size: "10000000000\x00"}.Bytes()} }
	}
	return []attack{
		layers("whiteouts", "GHSA-rp3h-jf77-q9p4", "", many(n, func(i int) craft.Entry { return craft.File(fmt.Sprintf(".wh.%d", i), "") })),
		layers("hard links to one file", "GHSA-rp3h-jf77-q9p4", "", many(n, func(i int) craft.Entry {
			if i == 0 {
				return craft.File("f", "x")
			}
			return craft.Hardlink(fmt.Sprint(i), "f")
		})),
		layers("files through forty links", "GHSA-rp3h-jf77-q9p4", "", many(n, func(i int) craft.Entry {
			switch {
			case i == 0:
				return craft.Dir("d")
			case i < 40:
				return craft.Symlink(fmt.Sprintf("l%d", i), map[bool]string{true: "d", false: fmt.Sprintf("l%d", i-1)}[i == 1])
			}
			return craft.File(fmt.Sprintf("l39/%d", i), "")
		})),
		layers("one file, again and again", "GHSA-rp3h-jf77-q9p4", "", many(n, func(int) craft.Entry { return craft.File("f", "x") })),
		layers("a directory and a file by turns", "CVE-2025-47290", "", many(n, func(i int) craft.Entry {
			if i%2 == 0 {
				return craft.Dir("d")
			}
			return craft.File("d", "")
		})),
		layers("opaque again and again", "GHSA-rp3h-jf77-q9p4", "", many(n, func(i int) craft.Entry {
			if i%2 == 0 {
				return craft.File(fmt.Sprintf("d/%d", i), "")
			}
			return craft.File("d/.wh..wh..opq", "")
		})),
		layers("two hundred layers of links over directories", "CVE-2025-47290", "", func() (tars [][]byte) {
			for i := range 200 {
				tars = append(tars, craft.Archive([]craft.Entry{craft.Dir("d"), craft.Symlink("d", "/etc")}[i%2], craft.File(fmt.Sprint(i), "")))
			}
			return tars
		}),
		layers("a PAX header of a gigabyte", "CVE-2022-2879", "MaxPAX", huge('x')),
		layers("a long name of a gigabyte", "CVE-2022-2879", "MaxPAX", huge('L')),
		layers("a global header of a gigabyte", "CVE-2022-2879", "MaxPAX", huge('g')),
		layers("as deep as a path can be", "CVE-2021-35937", "", func() [][]byte {
			return [][]byte{craft.Archive(craft.File(strings.Repeat("d/", 2000)+"f", "x"))}
		}),
		layers("a thousand and one layers", "ATTACKS F7: caps", "layers", func() (tars [][]byte) {
			for range 1001 {
				tars = append(tars, nil)
			}
			return tars
		}),
	}
}
