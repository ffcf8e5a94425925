package hostile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/tests/craft"
)

// layersOf makes an image of tars.
func layersOf(tars ...[]byte) *craft.Image {
	var list []craft.Layer
	for _, tar := range tars {
		list = append(list, craft.Gzipped(tar))
	}
	return craft.NewImage(nil, list...)
}

// unpacked is a case whose layers are taken, and shown the same way by both backends (harmless unpacks them; the
// sentinel must not notice). holds is read from the image afterwards: path to content, "" for no such file.
func unpacked(name, row, precedent string, holds map[string]string, layers ...[]craft.Entry) attack {
	return attack{name: name, row: row, precedent: precedent, prepare: func(k *kit) []string {
		var tars [][]byte
		for _, entries := range layers {
			tars = append(tars, craft.Archive(entries...))
		}
		return k.put(layersOf(tars...))
	}, after: func(k *kit, _ result) {
		store := k.store(k.T)
		ref, err := image.ParseRef(k.ref())
		if err != nil {
			k.Fatal(err)
		}
		img, err := store.Get(k.Context(), ref)
		if err != nil {
			k.Fatal(err)
		}
		dir := filepath.Join(k.TempDir(), "unpacked")
		if err := store.Extract(k.Context(), img, dir); err != nil {
			k.Fatal(err)
		}
		root, err := os.OpenRoot(dir) // links lead nowhere else
		if err != nil {
			k.Fatal(err)
		}
		defer root.Close()
		for path, want := range holds {
			data, err := root.ReadFile(strings.TrimPrefix(path, "/"))
			if string(data) != want || (err == nil) != (want != "") {
				k.Errorf("%s is %q, %v; want %q", path, data, err, want)
			}
		}
	}}
}

// refusedTars are the tables of craft.
func refusedTars() (all []attack) {
	for _, tar := range append(craft.RefusedAlone(), craft.RefusedTogether()...) {
		all = append(all, attack{name: "tar: " + tar.Name, row: tar.Row, precedent: tar.Precedent, refuse: tar.Want,
			prepare: func(k *kit) []string { return k.put(layersOf(tar.Layers...)) }})
	}
	return all
}

// breakouts are U1, U2 and U3: names and links that lead out, in one layer and across layers.
func breakouts() (all []attack) {
	outs := []struct{ name, precedent, target string }{
		{"an absolute link", "containerd TestBreakouts", "/run/sentinel"},
		{"a link up", "CVE-2016-7569", "../../../../../../../run/sentinel"},
		{"a link through /proc", "CVE-2024-21626", "/proc/self/root/run/sentinel"},
		{"a link to a descriptor", "CVE-2024-21626", "/proc/self/fd/3/../../run/sentinel"},
		{"a link through a link", "umoci dirlink tests", "first/../../run/sentinel"},
	}
	for _, out := range outs {
		link := []craft.Entry{craft.Symlink("first", "/"), craft.Symlink("d", out.target)}
		for _, in := range []struct {
			what  string
			entry craft.Entry
		}{
			{"a file", craft.File("d/new", "evil")},
			{"a file that is there", craft.File("d/file", "evil")},
			{"a mode", craft.File("d/setuid", "evil").With(0o4777)},
			{"a directory's mode", craft.Dir("d/dir").With(0o777)},
			{"its own mode", craft.Dir("d").With(0o777)},
			{"a link", craft.Symlink("d/file", "/etc/shadow")},
			{"a FIFO", craft.Fifo("d/fifo")},
			{"a whiteout", craft.File("d/.wh.file", "")},
			{"an opaque whiteout", craft.File("d/.wh..wh..opq", "")},
		} {
			all = append(all,
				unpacked(out.name+", then "+in.what, "U1", out.precedent, nil, append(link[:2:2], in.entry)),
				unpacked(out.name+", then "+in.what+" of the next layer", "U1", out.precedent, nil, link, []craft.Entry{in.entry}))
		}
		all = append(all, attack{name: out.name + ", then a hard link to its file", row: "U3", precedent: "CVE-2021-32760", refuse: "is missing", prepare: func(k *kit) []string {
			return k.put(layersOf(craft.Archive(append(link[:2:2], craft.Hardlink("h", "d/setuid"), craft.File("h", "evil").With(0o777))...)))
		}})
	}
	for _, name := range []string{"../run/sentinel/file", "../../../../run/sentinel/file", "/run/sentinel/file", "//run/sentinel/file", "a/../../run/sentinel/file", "./../run/sentinel/file", "a/b/../../../run/sentinel/file", "..//run/sentinel/file"} {
		all = append(all, unpacked(fmt.Sprintf("the name %q", name), "U1", "CVE-2018-1002207", map[string]string{"/run/sentinel/file": "evil"}, []craft.Entry{craft.File(name, "evil")}))
	}
	for _, name := range []string{"..", ".", "/", "//", "./.", "a/.."} {
		all = append(all, unpacked(fmt.Sprintf("the root as %q", name), "U1", "CVE-2021-29136", nil, []craft.Entry{craft.Dir(name)}))
	}
	return append(all,
		unpacked("a directory, then a link in its place", "U1", "CVE-2021-35937", map[string]string{"/d/file": ""}, []craft.Entry{craft.Dir("d"), craft.File("d/x", "x"), craft.Symlink("d", "/run/sentinel"), craft.File("e", "x")}),
		unpacked("a link, then a directory in its place", "U1", "CVE-2021-32803", map[string]string{"/d/x": "x"}, []craft.Entry{craft.Symlink("d", "nowhere"), craft.File(".wh.d", ""), craft.Dir("d"), craft.File("d/x", "x")}),
		unpacked("a link swapped between layers", "U1", "CVE-2025-47290", map[string]string{"/d/x": "3"}, []craft.Entry{craft.Dir("d"), craft.File("d/x", "1")}, []craft.Entry{craft.Symlink("d", "/run/sentinel")}, []craft.Entry{craft.File(".wh.d", ""), craft.Dir("d"), craft.File("d/x", "3")}),
		unpacked("a file over a link", "U1", "containers/storage InvalidSymlink", map[string]string{"/l": "x"}, []craft.Entry{craft.Symlink("l", "/run/sentinel/file"), craft.File("l", "x")}),
		unpacked("a hard link to a link out, then a file", "U3", "CVE-2021-32760", map[string]string{"/h": "x"}, []craft.Entry{craft.Symlink("l", "/run/sentinel/file"), craft.Hardlink("h", "l"), craft.File("h", "x").With(0o4777)}),
		unpacked("a hard link to a link out, its mode", "U3", "CVE-2021-32760", nil, []craft.Entry{craft.Symlink("l", "/run/sentinel/setuid"), craft.Hardlink("h", "l").With(0o777)}),
		unpacked("dirs of mode 000", "U3", "umoci scoping tests", map[string]string{"/d/x": "x"}, []craft.Entry{craft.Dir("d").With(0), craft.File("d/x", "x").With(0)}),
		attack{name: "two images at once, of one layer that is a directory and one that is a link", row: "U2", precedent: "CVE-2025-47290", prepare: together, after: nil},
		attack{name: "two at once, unpacked", row: "U2", precedent: "CVE-2025-47290", prepare: func(k *kit) []string { k.flags = []string{"--store=dir"}; return together(k) }},
	)
}

// together fetches images that share layers, in turns of directory and link, side by side and again and again.
func together(k *kit) []string {
	d := craft.Archive(craft.Dir("d"), craft.File("d/file", "mine"))
	l := craft.Archive(craft.Symlink("d", "/run/sentinel"))
	f := craft.Archive(craft.File("d/new", "evil"))
	k.site.Put("one", "1", layersOf(d, l, f))
	k.site.Put("two", "1", layersOf(l, f, d))
	for range 10 {
		var wg sync.WaitGroup
		for _, name := range []string{"one", "two", "one", "two"} {
			wg.Go(func() {
				if r := k.host.run(k.T, append([]string{"fetch", k.addr() + "/" + name + ":1"}, k.flags...)...); r.code != 0 {
					k.Errorf("%s: %s", name, r.stderr)
				}
			})
		}
		wg.Wait()
		k.harmless(k)
	}
	return nil
}

// private is U6: no program of an image is within reach of the host's users.
func private() []attack {
	setuid := []craft.Entry{craft.File("bin/su", "x").With(0o4755), craft.File("bin/sg", "x").With(0o2755), craft.Dir("tmp").With(0o1777), craft.File("secret", "x").With(0o644)}
	look := func(k *kit, _ result) {
		for _, top := range []string{k.dir, image.DefaultRunDir} {
			open := 0
			err := filepath.WalkDir(top, func(path string, _ os.DirEntry, err error) error {
				if err == nil && reachable(path) {
					open++
					k.Errorf("others may reach %s", path)
				}
				if open > 5 {
					return filepath.SkipAll
				}
				return nil
			})
			if err != nil {
				k.Error(err)
			}
		}
	}
	return []attack{
		{name: "setuid files, fetched", row: "U6", precedent: "CVE-2021-41091", prepare: func(k *kit) []string { return k.put(layersOf(craft.Archive(setuid...))) }, after: look},
		{name: "setuid files, unpacked", row: "U6", precedent: "CVE-2024-25621", prepare: func(k *kit) []string {
			return append(k.put(layersOf(craft.Archive(setuid...))), "--store=dir")
		}, after: look},
		{name: "setuid files, run", row: "U6", precedent: "CVE-2021-41091", prepare: func(k *kit) []string {
			return k.running(nil, nil, []string{"true"}, setuid...)
		}, after: look},
		{name: "file capabilities, run", row: "U6", precedent: "CVE-2021-41091", prepare: func(k *kit) []string {
			return k.running(nil, nil, []string{"true"}, craft.File("ping", "x").With(0o755).Xattr("security.capability", "\x01\x00\x00\x02"+strings.Repeat("\xff", 4)+strings.Repeat("\x00", 12)))
		}, after: look},
	}
}

// reachable says whether a user who is nobody can open path: each directory above it must let him through.
func reachable(path string) bool {
	for p := path; p != "/"; p = filepath.Dir(p) {
		var st unix.Stat_t
		if unix.Lstat(p, &st) != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&0o001 == 0 {
			return false
		}
	}
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o004 != 0
}
