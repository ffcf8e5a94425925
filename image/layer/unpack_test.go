package layer

import (
	"archive/tar"
	"strings"
	"testing"
)

// Every case is unpacked by gantry's backends and by umoci, and all must agree on every file.
func TestAgainstUmoci(t *testing.T) {
	long := strings.Repeat("n", 255)
	deep := strings.Repeat(strings.Repeat("d", 99)+"/", 12)
	cases := map[string][][]member{
		"empty layers":     {{}, {file("f", "x")}, {}},
		"types":            {{dir("d", 0o755), file("d/f", "x"), symlink("d/s", "f"), hardlink("d/h", "d/f"), fifo("d/p"), special(tar.TypeChar, "d/c", 1, 3), special(tar.TypeBlock, "d/b", 259, 70000)}},
		"modes and owners": {{dir("tmp", 0o1777), file("su", "x").mode(0o4755), file("sg", "x").mode(0o2755).owner(5, 4_000_000_000), dir("none", 0).owner(1, 2), file("none/f", "").mode(0)}},
		"root entry":       {{dir("./", 0o711).owner(3, 4), file("./f", "x")}, {dir("/", 0o750)}},
		"implicit parents": {{file("a/b/c/f", "x")}, {file("a/b/g", "y"), dir("a", 0o700).owner(1, 1)}},
		"implicit parents leave what is there": {
			{dir("tmp", 0o1777).owner(7, 7)}, {file("tmp/x", "x")},
		},
		"whiteout":                     {{file("a/f", "x"), file("a/g", "y"), dir("b", 0o755), file("b/c/d", "z")}, {hide("a/.wh.f"), hide(".wh.b")}},
		"whiteout and new":             {{dir("a", 0o700), file("a/old", "x")}, {hide(".wh.a"), dir("a", 0o755), file("a/new", "y")}},
		"new and whiteout":             {{dir("a", 0o700), file("a/old", "x")}, {dir("a", 0o755), file("a/new", "y"), hide(".wh.a")}},
		"new file and whiteout":        {{file("a", "old")}, {file("a", "new"), hide(".wh.a")}},
		"whiteout of nothing":          {{file("f", "x")}, {hide(".wh.g"), hide("no/such/.wh.dir"), hide("no/.wh..wh..opq")}},
		"whiteout spares its layer":    {{}, {dir("a", 0o755), file("a/b/c", "x"), hide("a/.wh.b"), hide(".wh.a")}},
		"whiteout spares new below":    {{file("a/b/old", "x"), file("a/c/old", "x")}, {file("a/b/new", "y"), hide(".wh.a")}},
		"opaque first":                 {{dir("a", 0o700), file("a/old", "x"), file("a/d/old", "x")}, {dir("a", 0o755), hide("a/.wh..wh..opq"), file("a/new", "y"), file("a/d/new", "y")}},
		"opaque last":                  {{dir("a", 0o700), file("a/old", "x"), file("a/d/old", "x")}, {dir("a", 0o755), file("a/new", "y"), file("a/d/new", "y"), hide("a/.wh..wh..opq")}},
		"opaque root":                  {{file("f", "x"), file("d/f", "x")}, {hide(".wh..wh..opq"), file("d/g", "y")}},
		"opaque twice":                 {{file("a/1", "x")}, {hide("a/.wh..wh..opq"), file("a/2", "x")}, {hide("a/.wh..wh..opq"), file("a/3", "x")}},
		"hard link into a lower layer": {{file("bin/a", "program").mode(0o755)}, {hardlink("bin/b", "bin/a"), hardlink("c", "/bin/b")}},
		"hard link survives whiteout":  {{file("a", "x"), hardlink("b", "a")}, {hide(".wh.a")}, {hardlink("c", "b")}},
		"hard link and replacement":    {{file("a", "x"), hardlink("b", "a")}, {file("a", "other")}},
		"hard link to a symlink":       {{file("f", "x"), symlink("s", "f"), hardlink("h", "s")}},
		"hard link to a fifo":          {{fifo("p"), hardlink("q", "p")}},
		"hard link through a symlink":  {{file("usr/lib/f", "x"), symlink("lib", "usr/lib")}, {hardlink("lib/g", "lib/f"), hardlink("h", "lib/../lib/f")}},
		"file over directory":          {{file("a/b/c", "x")}, {file("a", "now a file")}},
		"symlink over directory":       {{file("a/b/c", "x"), dir("real", 0o755)}, {symlink("a", "real"), file("a/f", "y")}},
		"directory over file":          {{file("a", "x")}, {dir("a", 0o700), file("a/f", "y")}},
		"directory over symlink":       {{dir("real", 0o755), symlink("a", "real")}, {dir("a", 0o700), file("a/f", "y")}},
		"file over symlink":            {{file("f", "x"), symlink("s", "f")}, {file("s", "y")}},
		"last of a layer wins":         {{file("a", "1"), file("a", "2"), dir("d", 0o700), file("d/f", "x"), dir("d", 0o711), symlink("a", "d"), file("a/g", "y")}},
		"parent is a symlink":          {{dir("usr/lib", 0o755), symlink("lib", "usr/lib")}, {file("lib/f", "x"), dir("lib/d", 0o755)}, {hide("lib/.wh.f")}},
		"parent is an absolute symlink": {
			{dir("usr/lib", 0o755), symlink("lib", "/usr/lib"), symlink("x", "/lib")}, {file("x/f", "x")},
		},
		"parent is a symlink out of the root": {{dir("a/b", 0o755), symlink("a/b/out", "../../../../../../up")}, {file("a/b/out/f", "x")}},
		"parent is a symlink to the root":     {{symlink("r", "/"), symlink("d/r2", "..")}, {file("r/f", "x"), file("d/r2/g", "y")}},
		"parent is a dangling symlink":        {{symlink("l", "no/where/at/all")}, {file("l/f", "x")}},
		"dangling with dots":                  {{dir("real", 0o755), symlink("l", "no/where/../../real/./x")}, {file("l/f", "x")}},
		"opaque through a symlink":            {{file("real/old", "x"), symlink("l", "real")}, {hide("l/.wh..wh..opq"), file("l/new", "y")}},
		"names that need cleaning":            {{file("./a/./b//c", "x"), file("/abs/f", "x"), file("a/../up", "x"), file("../../out", "x"), dir("a//d/", 0o700), file("x/y/../../z", "x")}},
		"odd names":                           {{file("new\nline", "x"), file("esc\x1b[31m", "x"), file(`back\slash`, "x"), file("Case", "1"), file("case", "2"), file(" ", "x"), file("...", "x"), file("-rf", "x"), file("!a", "x"), file("wh.", "x"), file("x.wh.y", "x")}},
		"long names":                          {{file(long, "x"), file(deep+"f", "x"), symlink("s", strings.Repeat("t/", 1500)), hardlink("h", deep+"f")}},
		"long names of GNU": {{
			member{tar.Header{Name: strings.Repeat("g/", 120) + "f", Typeflag: tar.TypeReg, Mode: 0o644, ModTime: when.Truncate(1e9), Format: tar.FormatGNU}, "x"},
			member{tar.Header{Name: "s", Linkname: strings.Repeat("g/", 120) + "f", Typeflag: tar.TypeSymlink, Mode: 0o777, ModTime: when.Truncate(1e9), Format: tar.FormatGNU}, ""},
		}},
		"xattrs": {{
			file("f", "x").xattr("user.a", "1").xattr("user.bin", "\x00\xff\n=").xattr("user.b.c", strings.Repeat("v", 1000)),
			dir("d", 0o755).xattr("user.dir", "2"),
			file("cap", "x").mode(0o755).xattr("security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		}, {dir("d", 0o755).xattr("user.other", "3")}},
		"names that are not UTF-8": {{file("\xff\xfe", "x"), symlink("s", "\xff")}},
	}
	for name, layers := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tars [][]byte
			for _, members := range layers {
				if strings.Contains(name, "UTF-8") {
					for k := range members {
						members[k].Format = tar.FormatGNU
						members[k].ModTime = when.Truncate(1e9)
					}
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
		})
	}
}
