package craft

import "strings"

// RefusedTogether are images of layers that are each in order, but cannot be laid on each other.
func RefusedTogether() []Tar {
	var all []Tar
	for _, c := range []struct {
		name, row, precedent string
		layers               [][]Entry
		want                 string
	}{
		{"hard link before its target", "U1", "containers/storage InvalidHardlink", [][]Entry{{Hardlink("h", "f"), File("f", "x")}}, "is missing"},
		{"hard link to what is gone", "U1", "containers/storage InvalidHardlink", [][]Entry{{File("f", "x")}, {File(".wh.f", ""), Hardlink("h", "f")}}, "is missing"},
		{"hard link to a directory", "U1", "containers/storage InvalidHardlink", [][]Entry{{Dir("d"), Hardlink("h", "d")}}, "is a directory"},
		{"hard link out of the root", "U1", "containers/storage InvalidHardlink", [][]Entry{{Hardlink("h", "../../../../etc/passwd")}}, "is missing"},
		{"hard link through a symlink out of the root", "U1", "CVE-2021-32760", [][]Entry{{Symlink("s", "/etc"), Hardlink("h", "s/passwd")}}, "is missing"},
		{"hard link over its own directory", "U1", "containers/storage InvalidHardlink", [][]Entry{{File("d/f", "x"), Hardlink("d", "d/f")}}, "replaces its target"},
		{"hard link to itself", "U1", "containers/storage InvalidHardlink", [][]Entry{{File("f", "x"), Hardlink("./f", "f")}}, "replaces its target"},
		{"hard link to itself through a symlink", "U1", "containers/storage InvalidHardlink", [][]Entry{{File("d/f", "x"), Symlink("s", "d"), Hardlink("s/f", "d/f")}}, "replaces its target"},
		{"parent is a file", "U1", "containerd TestBreakouts", [][]Entry{{File("f", "x"), File("f/g", "x")}}, "not a directory"},
		{"parent is a file of a lower layer", "U1", "containerd TestBreakouts", [][]Entry{{File("f", "x")}, {File("f/g", "x")}}, "not a directory"},
		{"parent is a device", "U1", "containerd TestBreakouts", [][]Entry{{Device("c", 1, 3), File("c/g", "x")}}, "not a directory"},
		{"parent is a link to a file", "U1", "containerd TestBreakouts", [][]Entry{{File("f", "x"), Symlink("s", "f"), File("s/g", "x")}}, "not a directory"},
		{"parent is a link to itself", "U1", "GHSA-rp3h-jf77-q9p4", [][]Entry{{Symlink("s", "s"), File("s/g", "x")}}, "symbolic links"},
		{"parents link to each other", "U1", "GHSA-rp3h-jf77-q9p4", [][]Entry{{Symlink("a", "b/x"), Symlink("b", "a/x"), File("a/g", "x")}}, "symbolic links"},
		{"too deep through links", "F7", "GHSA-rp3h-jf77-q9p4", [][]Entry{
			{Dir(strings.Repeat("d/", 2000)), Symlink("s", strings.Repeat("d/", 2000))},
			{File("s/"+strings.Repeat("e/", 100)+"f", "x")},
		}, "longer than 4095"},
	} {
		t := Tar{Name: c.name, Row: c.row, Precedent: c.precedent, Want: c.want}
		for _, entries := range c.layers {
			t.Layers = append(t.Layers, Archive(entries...))
		}
		all = append(all, t)
	}
	return all
}
