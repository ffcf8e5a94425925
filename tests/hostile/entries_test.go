package hostile

import (
	"archive/tar"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/tests/craft"
)

// whiteouts is U4: what hides, and orders to overlayfs. (Names that are no whiteouts are refused: refusedTars.)
func whiteouts() []attack {
	base := []craft.Entry{craft.Dir("d"), craft.File("d/f", "x"), craft.File("g", "y")}
	over := func(name, precedent string, holds map[string]string, entries ...craft.Entry) attack {
		return unpacked(name, "U4", precedent, holds, base, entries)
	}
	kept := map[string]string{"/d/f": "x", "/g": "y"}
	return []attack{
		over("a whiteout of what is not there", "umoci scoping tests", kept, craft.File(".wh.nothing", "")),
		over("a whiteout that climbs", "umoci scoping tests", kept, craft.File("../../../.wh.etc", "")),
		over("a whiteout of a whiteout", "umoci scoping tests", kept, craft.File(".wh..wh.foo", "")),
		over("a whiteout with a body", "umoci scoping tests", map[string]string{"/g": ""}, craft.File(".wh.g", "body")),
		over("a whiteout that is a directory", "umoci scoping tests", map[string]string{"/g": ""}, craft.Dir(".wh.g")),
		over("an opaque root", "umoci scoping tests", map[string]string{"/g": "", "/h": "z"}, craft.File(".wh..wh..opq", ""), craft.File("h", "z")),
		over("an opaque directory that is one", "umoci scoping tests", map[string]string{"/d/f": ""}, craft.Dir("d/.wh..wh..opq")),
		over("a device 0:0", "containerd overlay whiteouts", map[string]string{"/g": ""}, craft.Device("g", 0, 0)),
		over("a device 0:0 by hard link", "containerd overlay whiteouts", map[string]string{"/g": ""}, craft.Device("w", 0, 0), craft.Hardlink("g", "w")),
		over("xattr opaque", "CVE-2023-0386", kept, craft.Dir("d").Xattr("trusted.overlay.opaque", "y")),
		over("xattr redirect", "CVE-2023-0386", kept, craft.Dir("e").Xattr("trusted.overlay.redirect", "/../../run/sentinel")),
		over("xattr metacopy", "CVE-2023-0386", map[string]string{"/m": "own"}, craft.File("m", "own").Xattr("trusted.overlay.metacopy", "").Xattr("trusted.overlay.redirect", "/../../etc/shadow")),
		over("xattr origin and nlink", "CVE-2023-0386", kept, craft.File("m", "own").Xattr("trusted.overlay.origin", "x").Xattr("trusted.overlay.nlink", "U+9")),
		over("xattr opaque, of a user", "CVE-2023-0386", kept, craft.Dir("d").Xattr("user.overlay.opaque", "y")),
		over("xattr redirect, of a user", "CVE-2023-0386", kept, craft.Dir("e").Xattr("user.overlay.redirect", "/../../run/sentinel")),
		over("xattr whiteout, of a user", "CVE-2023-0386", map[string]string{"/d/n": "x"}, craft.Dir("d").Xattr("user.overlay.whiteouts", "y"), craft.File("d/n", "x").Xattr("user.overlay.whiteout", "y")),
		over("files of aufs", "moby aufs", kept, craft.Dir(".wh..wh.plnk"), craft.File(".wh..wh.plnk/1.2", "x"), craft.File(".wh..wh.aufs", "")),
	}
}

// devices is U5: nodes are there, and nobody can open them. (Numbers that no kernel has are refused: refusedTars.)
func devices() (all []attack) {
	for name, c := range map[string]struct {
		entry   craft.Entry
		command string
	}{
		"/dev/mem":        {craft.Device("m", 1, 1).With(0o666), "dd if=/m bs=1 count=1"},
		"/dev/null":       {craft.Device("m", 1, 3).With(0o666), "cat /m"},
		"kmsg":            {craft.Device("m", 1, 11).With(0o666), "cat /m"},
		"a disk":          {craft.Entry{Header: blockDevice("m", 8, 0)}, "dd if=/m bs=512 count=1"},
		"a loop device":   {craft.Entry{Header: blockDevice("m", 7, 0)}, "dd if=/m bs=512 count=1"},
		"/dev/kvm":        {craft.Device("m", 10, 232).With(0o666), "cat /m"},
		"made in the pod": {craft.File("x", ""), "mknod /m c 1 1 && cat /m"},
	} {
		all = append(all, attack{name: name, row: "U5", precedent: "CVE-2021-41091", prepare: func(k *kit) []string {
			return k.running(nil, nil, []string{"sh", "-c", c.command + " 2>&1 && echo opened"}, c.entry)
		}, after: func(k *kit, r result) {
			if r.code == 0 || r.code == 254 || strings.Contains(r.stdout, "opened") {
				k.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
			}
		}})
	}
	return append(all, unpacked("a FIFO and a socket's place", "U5", "CVE-2024-9676", nil, []craft.Entry{craft.Fifo("f"), craft.Fifo("run/s.sock")}))
}

// xattrs is U7.
func xattrs() []attack {
	one := func(name, key, value string, kind craft.Entry) attack {
		return unpacked(name, "U7", "CVE-2021-41091", nil, []craft.Entry{kind.Xattr(key, value)})
	}
	f := craft.File("f", "x")
	v3 := "\x01\x00\x00\x03" + strings.Repeat("\xff", 16) + "\x00\x00\x00\x00"
	return []attack{
		one("capability of version 1", "security.capability", "\x01\x00\x00\x01"+strings.Repeat("\xff", 8), f),
		one("capability, cut", "security.capability", "\x01\x00", f),
		one("capability of another root", "security.capability", v3, f),
		one("capability of a directory", "security.capability", v3, craft.Dir("d")),
		one("IMA", "security.ima", "\x03\x02", f), one("EVM", "security.evm", "\x03\x02", f),
		one("SELinux", "security.selinux", "system_u:object_r:shadow_t:s0", f), one("Smack", "security.SMACK64", "_", f),
		one("an access list", "system.posix_acl_access", "\x02\x00\x00\x00", f), one("trusted", "trusted.evil", "x", f),
		one("64 KiB", "user.big", strings.Repeat("v", 1<<16), f), one("no name", "user.", "x", f),
		one("a name of 255", "user."+strings.Repeat("n", 250), "x", f), one("a name of 300", "user."+strings.Repeat("n", 295), "x", f),
		{name: "200 KB together", row: "U7", precedent: "CVE-2022-2879", refuse: "xattrs of more than", prepare: func(k *kit) []string {
			e := f
			for n := range 4 {
				e = e.Xattr(fmt.Sprintf("user.%d", n), strings.Repeat("v", 50_000))
			}
			return k.put(layersOf(craft.Archive(e)))
		}},
	}
}

// names is U8: those that are taken. (Those that are too long are refused: refusedTars.)
func names() (all []attack) {
	for name, path := range map[string]string{
		"invalid UTF-8": "\xff\xfe", "a line feed": "a\nb", "an escape": "\x1b[2J", "a backslash": `..\..\run\sentinel\file`, "a component of 255": strings.Repeat("n", 255),
		"a drive": "C:\\x", "a dash": "-rf", "spaces": "  ", "a tilde": "~root", "a star": "*", "a dollar": "$(reboot)", "a colon": "a:b", "a path of 4,090": strings.Repeat("d/", 2044) + "f",
	} {
		all = append(all, unpacked(name, "U8", "ATTACKS U8: names", map[string]string{"/" + path: "x"}, []craft.Entry{craft.File(path, "x")}))
	}
	return append(all,
		unpacked("twins but for case", "U8", "CVE-2021-21300", map[string]string{"/File": "1", "/file": "2"}, []craft.Entry{craft.File("File", "1"), craft.File("file", "2")}),
		unpacked("a slash behind a file", "U8", "ATTACKS U8: names", nil, []craft.Entry{craft.Dir("f/"), craft.File("f/x", "x")}),
		unpacked("a long link", "U8", "ATTACKS U8: names", nil, []craft.Entry{craft.Symlink("l", strings.Repeat("t/", 2000))}),
	)
}

// exact is U9: numbers at their ends. (Those beyond are refused: refusedTars.)
func exact() (all []attack) {
	taken := func(name, precedent string, tar []byte) attack {
		return attack{name: name, row: "U9", precedent: precedent, prepare: func(k *kit) []string { return k.put(layersOf(tar)) }}
	}
	old := craft.File("f", "x")
	old.ModTime = time.Unix(-1<<40, 0)
	return append(all,
		taken("mtime 2^62", "ATTACKS U9: mtime", craft.Raw(craft.PAX('x', "mtime=4611686018427387904"), craft.Block{}.Bytes())),
		taken("mtime -2^62", "ATTACKS U9: mtime", craft.Raw(craft.PAX('x', "mtime=-4611686018427387904"), craft.Block{}.Bytes())),
		taken("mtime before there was one", "ATTACKS U9: mtime", craft.Archive(old)),
		taken("uid 2^32-2", "CVE-2024-40635", craft.Raw(craft.Block{UID: "\x80\x00\x00\x00\xff\xff\xff\xfe"}.Bytes())),
		taken("a second archive behind the first", "ATTACKS U9: concatenated", append(craft.Archive(craft.File("a", "x")), craft.Archive(craft.File("b", "x"))...)),
		taken("no end", "ATTACKS U9: concatenated", craft.Block{}.Bytes()),
		taken("nothing at all", "ATTACKS U9: concatenated", nil),
		taken("a global comment", "ATTACKS U9: global header spoof", craft.Raw(craft.PAX('g', "comment=x"), craft.Block{}.Bytes())),
		attack{name: "cut in a file", row: "U9", precedent: "umoci verified reader", refuse: "unexpected EOF", prepare: func(k *kit) []string {
			return k.put(layersOf(craft.Archive(craft.File("a", noise(5000)))[:2000]))
		}},
		attack{name: "cut in a header", row: "U9", precedent: "umoci verified reader", refuse: "unexpected EOF", prepare: func(k *kit) []string { return k.put(layersOf(craft.Archive(craft.File("a", "x"))[:300])) }},
	)
}

// diffIDs is U10.
func diffIDs() []attack {
	ids := func(name, refuse string, change func(ids []any) []any) attack {
		return attack{name: name, row: "U10", precedent: "containerd diffID check", refuse: refuse, prepare: func(k *kit) []string {
			img := layersOf(craft.Archive(craft.File("a", "1")), craft.Archive(craft.File("a", "2")))
			return k.put(img.ChangeConfig(func(c craft.Object) {
				rootfs := c["rootfs"].(craft.Object)
				rootfs["diff_ids"] = change(rootfs["diff_ids"].([]any))
			}))
		}}
	}
	return []attack{
		ids("another's", "diffID", func(l []any) []any { return []any{l[0], digest.FromString("x").String()} }),
		ids("changed about", "diffID", func(l []any) []any { return []any{l[1], l[0]} }),
		ids("one too few", "diff_ids for", func(l []any) []any { return l[:1] }),
		ids("one too many", "diff_ids for", func(l []any) []any { return append(l, l[0]) }),
		ids("none", "diff_ids for", func([]any) []any { return nil }),
		ids("the same twice", "diffID", func(l []any) []any { return []any{l[0], l[0]} }),
		{name: "good layer, bad layer", row: "U10", precedent: "containerd diffID check", refuse: "diffID", prepare: func(k *kit) []string {
			good, bad := craft.Gzipped(craft.Archive(craft.File("a", noise(1<<20)))), craft.Gzipped(craft.Archive(craft.File("b", "b")))
			bad.DiffID = digest.FromString("x").String()
			return k.put(craft.NewImage(nil, good, bad))
		}},
	}
}

// fileSystems is U11: what the kernel would parse.
func fileSystems() (all []attack) {
	for _, mediaType := range []string{
		"application/vnd.erofs.layer.v1", "application/vnd.erofs", "application/vnd.oci.image.layer.v1.erofs", "application/vnd.oci.image.layer.squashfs",
		"application/vnd.docker.image.rootfs.diff.squashfs", "application/vnd.oci.image.layer.v1.tar+encrypted", "application/octet-stream", "", "application/vnd.oci.image.layer.v1.tar+xz",
	} {
		all = append(all, attack{name: fmt.Sprintf("layer of type %q", mediaType), row: "U11", precedent: "containerd STORE-006", refuse: "media type", prepare: func(k *kit) []string {
			return k.put(plain().LayerField("mediaType", mediaType))
		}})
	}
	super := make([]byte, 4096)
	copy(super[1024:], "\xe2\xe1\xf5\xe0")
	return append(all, attack{name: "an EROFS that is called a tar is an empty one", row: "U11", precedent: "containerd STORE-006", prepare: func(k *kit) []string {
		l := craft.Plain(super)
		l.MediaType = ocispec.MediaTypeImageLayer
		return k.put(craft.NewImage(nil, l))
	}})
}

func blockDevice(name string, major, minor int64) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeBlock, Mode: 0o666, Devmajor: major, Devminor: minor}
}
