package craft

import "strings"

// Tar is a layer, or the layers of an image from the lowest up, that a reader of tars has to refuse.
type Tar struct {
	Name string
	// Row of the catalogue of attacks, and Precedent: whom it hit.
	Row, Precedent string
	Layers         [][]byte
	// Want is what the error has to say.
	Want string
}

// RefusedAlone are the layers that a look at the one tar condemns.
func RefusedAlone() []Tar {
	var all []Tar
	for _, group := range [][]refused{badHeaders(), badExtensions(), badSparse(), badEntries()} {
		for _, r := range group {
			all = append(all, Tar{r.name, r.row, r.precedent, [][]byte{r.tar}, r.want})
		}
	}
	return all
}

type refused struct {
	name, row, precedent string
	tar                  []byte
	want                 string
}

func extended(records ...string) []byte { return Raw(PAX('x', records...), Block{}.Bytes()) }

func global(record string) []byte { return Raw(PAX('g', record), Block{}.Bytes()) }

func device(major, minor string) []byte {
	return Raw(Block{Name: "d", Type: '3', Major: major, Minor: minor}.Bytes())
}

func named(n string) []byte { return Raw(PAX('x', "path="+n), Block{}.Bytes()) }

func sparse(records ...string) []byte {
	head := append([]string{"GNU.sparse.name=s", "GNU.sparse.size=1000", "GNU.sparse.numblocks=1"}, records...)
	return Raw(PAX('x', head...), Block{Size: "00000000012\x00"}.Bytes(), Padded("0123456789"))
}

// badHeaders are headers that say what cannot be.
func badHeaders() []refused {
	return []refused{
		{"checksum", "U9", "ATTACKS U9: strict parser", Raw(append(Block{}.Bytes()[:511], 'x')), "checksum"},
		{"lone zero block", "U9", "ATTACKS U9: strict parser", append(make([]byte, 512), Block{}.Bytes()...), "lone zero block"},
		{"no name", "U9", "ATTACKS U9: strict parser", Raw(Block{Name: "\x00"}.Bytes()), "no name"},
		{"uid 2^32-1", "U9", "CVE-2024-40635", Raw(Block{UID: "\x80\x00\x00\x00\xff\xff\xff\xff"}.Bytes()), "owner 4294967295"},
		{"uid 2^32", "U9", "CVE-2024-40635", extended("uid=4294967296"), "owner 4294967296"},
		{"gid 2^32-1", "U9", "CVE-2024-40635", extended("gid=4294967295"), "owner"},
		{"uid negative", "U9", "CVE-2024-40635", Raw(Block{UID: "\xff\xff\xff\xff\xff\xff\xff\xff"}.Bytes()), "owner -1"},
		{"uid beyond int64", "U9", "CVE-2024-40635", Raw(Block{Size: "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"}.Bytes()), "size is"},
		{"size negative", "U9", "CVE-2025-62518", Raw(Block{Size: "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"}.Bytes()), "is -1"},
		{"size of digits 8", "U9", "CVE-2025-62518", Raw(Block{Size: "00000000008\x00"}.Bytes()), "size is"},
		{"mode negative", "U9", "ATTACKS U9: strict parser", Raw(Block{Mode: "\xff\xff\xff\xff\xff\xff\xff\xff"}.Bytes()), "mode -1"},
		{"size of a device", "U9", "CVE-2025-62518", Raw(Block{Type: '3', Size: "00000001000\x00"}.Bytes()), "its type cannot have"},
		{"size of a FIFO", "U9", "CVE-2025-62518", Raw(Block{Type: '6', Size: "00000001000\x00"}.Bytes()), "its type cannot have"},
		{"size of a directory of old", "U9", "CVE-2025-62518", Raw(Block{Name: "d/", Type: 'z', Size: "00000001000\x00"}.Bytes()), "type"},
		{"vendor type", "U9", "ATTACKS U9: strict parser", Raw(Block{Type: 'D'}.Bytes()), "type 'D'"},
		{"volume label", "U9", "ATTACKS U9: strict parser", Raw(Block{Type: 'V'}.Bytes()), "type 'V'"},
	}
}

// badExtensions are extended headers on which readers would differ.
func badExtensions() []refused {
	return []refused{
		{"NUL in a PAX path", "U9", "ATTACKS U9: PAX NUL", named("a\x00b"), "contains NUL"},
		{"NUL in a PAX key", "U9", "ATTACKS U9: PAX NUL", extended("pa\x00th=a"), "PAX record with key"},
		{"PAX record without =", "U9", "CVE-2025-62518", extended("path"), "PAX record with key"},
		{"PAX record without a key", "U9", "CVE-2025-62518", extended("=v"), "PAX record with key"},
		{"PAX length too long", "U9", "CVE-2025-62518", Raw(Extension('x', "99 path=a\n"), Block{}.Bytes()), "PAX record of length"},
		{"PAX length too short", "U9", "CVE-2025-62518", Raw(Extension('x', "3 a=b\n"), Block{}.Bytes()), "PAX record"},
		{"PAX length zero", "U9", "CVE-2025-62518", Raw(Extension('x', "0 a=b\n"), Block{}.Bytes()), "PAX record"},
		{"PAX length missing", "U9", "CVE-2025-62518", Raw(Extension('x', " a=b\n"), Block{}.Bytes()), "without a length"},
		{"PAX size is text", "U9", "CVE-2025-62518", extended("size=1k"), "size is"},
		{"PAX uid with a sign", "U9", "CVE-2024-40635", extended("uid=+1"), "uid is"},
		{"PAX size negative", "U9", "CVE-2025-62518", extended("size=-1"), "size -1"},
		{"PAX size beyond int64", "U9", "CVE-2025-62518", extended("size=9223372036854775808"), "size is"},
		{"PAX mtime is text", "U9", "CVE-2025-62518", extended("mtime=1.5e3"), "mtime is"},
		{"PAX mtime beyond int64", "U9", "CVE-2025-62518", extended("mtime=99999999999999999999"), "mtime is"},
		{"two PAX headers", "U9", "CVE-2025-62518", Raw(PAX('x', "path=a"), PAX('x', "path=b"), Block{}.Bytes()), "two PAX headers"},
		{"GNU and PAX name", "U9", "CVE-2025-62518", Raw(Extension('L', "a\x00"), PAX('x', "path=b"), Block{}.Bytes()), "different names"},
		{"PAX header and the end", "U9", "CVE-2025-62518", Raw(PAX('x', "path=a")), "behind an extension"},
		{"PAX header and end of file", "U9", "CVE-2025-62518", PAX('x', "path=a"), "behind an extension"},
		{"long name and the end", "U9", "CVE-2025-62518", Raw(Extension('L', "a\x00")), "behind an extension"},
		{"global path", "U9", "ATTACKS U9: global header spoof", global("path=etc/passwd"), "global"},
		{"global size", "U9", "CVE-2025-62518", global("size=10"), "global"},
		{"global uid", "U9", "CVE-2024-40635", global("uid=0"), "global"},
		{"global xattr", "U9", "ATTACKS U9: global header spoof", global("SCHILY.xattr.user.a=b"), "global"},
	}
}

// badSparse are sparse files whose maps lie.
func badSparse() []refused {
	return []refused{
		{"sparse segment outside", "U9", "CVE-2018-20482", sparse("GNU.sparse.map=995,10"), "segment"},
		{"sparse segment negative", "U9", "CVE-2018-20482", sparse("GNU.sparse.map=-1,10"), "segment"},
		{"sparse segments overlap", "U9", "CVE-2018-20482", sparse("GNU.sparse.numblocks=2", "GNU.sparse.map=0,5,4,5"), "overlap"},
		{"sparse segments backwards", "U9", "CVE-2018-20482", sparse("GNU.sparse.numblocks=2", "GNU.sparse.map=10,5,0,5"), "overlap"},
		{"sparse map odd", "U9", "CVE-2025-58183", sparse("GNU.sparse.map=10,5,0"), "map of 3 numbers"},
		{"sparse map of another count", "U9", "CVE-2025-58183", sparse("GNU.sparse.numblocks=3", "GNU.sparse.map=0,10"), "says"},
		{"sparse map stores less", "U9", "CVE-2025-58183", sparse("GNU.sparse.map=0,9"), "its map says 9"},
		{"sparse map stores more", "U9", "CVE-2025-58183", sparse("GNU.sparse.map=0,11"), "its map says 11"},
		{"sparse map without a count", "U9", "CVE-2025-58183", sparse("GNU.sparse.numblocks=", "GNU.sparse.map=0,10"), "says"},
		{"sparse pairs out of order", "U9", "CVE-2018-20482", sparse("GNU.sparse.numbytes=10", "GNU.sparse.offset=0"), "out of order"},
		{"sparse format 2.0", "U9", "CVE-2018-20482", sparse("GNU.sparse.major=2", "GNU.sparse.minor=0"), "format"},
		{"sparse map in data does not end", "U9", "CVE-2025-58183", Raw(PAX('x', "GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=9"), Block{Size: "00000001000\x00"}.Bytes(), Padded(strings.Repeat("1", 512))), "does not end"},
		{"sparse map in data is text", "U9", "CVE-2025-58183", Raw(PAX('x', "GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=9"), Block{Size: "00000001000\x00"}.Bytes(), Padded("x\n")), "has a line"},
		{"sparse without size", "U9", "CVE-2018-20482", Raw(PAX('x', "GNU.sparse.map=0,1", "GNU.sparse.numblocks=1"), Block{}.Bytes()), "size of sparse file"},
		{"old sparse outside of GNU", "U9", "CVE-2018-20482", Raw(Block{Type: 'S'}.Bytes()), "outside of the GNU format"},
	}
}

// badEntries are entries that no tree can have.
func badEntries() []refused {
	return []refused{
		{"component of 256 bytes", "U8", "ATTACKS U8: names", named(strings.Repeat("n", 256)), "longer than 255"},
		{"component of 256 bytes that needs cleaning", "U8", "ATTACKS U8: names", named("./a//" + strings.Repeat("n", 256)), "longer than 255"},
		{"path beyond PATH_MAX", "U8", "ATTACKS U8: names", named(strings.Repeat("d/", 2500) + "f"), "longer than 4095"},
		{"size of a symlink", "U1", "CVE-2025-62518", Raw(Block{Type: '2', Link: "x", Size: "00000001000\x00"}.Bytes(), Padded("")), "its type cannot have"},
		{"major 4096", "U5", "containerd test of majors", device("0010000\x00", ""), "device number 4096"},
		{"minor 2^20", "U5", "containerd test of majors", device("", "4000000\x00"), "device number 0:1048576"},
		{"major beyond 2^32", "U5", "containerd test of majors", device("\x80\x00\x00\x01\x00\x00\x00\x01", ""), "device number"},
		{"symlink to nothing", "U1", "containers/storage InvalidSymlink", Raw(Block{Type: '2'}.Bytes()), "symbolic link"},
		{"symlink beyond PATH_MAX", "U8", "ATTACKS U8: names", Raw(PAX('x', "linkpath="+strings.Repeat("x", 4096)), Block{Type: '2'}.Bytes()), "symbolic link"},
		{"hard link to nothing", "U1", "CVE-2021-32760", Raw(Block{Type: '1'}.Bytes()), "hard link"},
		{"hard link to the root", "U1", "CVE-2021-32760", Raw(Block{Type: '1', Link: ".."}.Bytes()), "hard link"},
		{"root is a file", "U1", "CVE-2021-29136", Raw(Block{Name: "./"}.Bytes()), "root is not a directory"},
		{"root is a symlink", "U1", "CVE-2021-29136", Raw(Block{Name: "a/..", Type: '2', Link: "/etc"}.Bytes()), "root is not a directory"},
		{"root is a hard link", "U1", "CVE-2021-29136", Raw(Block{Name: "/", Type: '1', Link: "a"}.Bytes()), "root is not a directory"},
		{"whiteout of nothing", "U4", "umoci scoping tests", Raw(Block{Name: "d/.wh."}.Bytes()), "names no file"},
		{"whiteout of its directory", "U4", "umoci scoping tests", Raw(Block{Name: "d/.wh.."}.Bytes()), "names no file"},
		{"whiteout of the parent", "U4", "umoci scoping tests", Raw(Block{Name: "d/.wh..."}.Bytes()), "names no file"},
		{"below a whiteout", "U4", "umoci scoping tests", Raw(Block{Name: ".wh.d/f"}.Bytes()), "below a whiteout"},
	}
}
