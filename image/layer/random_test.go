package layer

import (
	"archive/tar"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
)

// randomLayers makes a small image in which everything gets in the way of everything else: few names, used as files, directories,
// links in all directions and whiteouts, in several layers.
func randomLayers(r *rand.Rand) [][]member {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	path := func() string {
		parts := []string{pick("a", "b", "c", "l")}
		for range r.IntN(3) {
			parts = append(parts, pick("a", "b", "c", "l", "..", "."))
		}
		return strings.Join(parts, "/")
	}
	var layers [][]member
	for range 1 + r.IntN(3) {
		var members []member
		for range 2 + r.IntN(10) {
			name := path()
			parent := name[:strings.LastIndexByte(name, '/')+1]
			switch r.IntN(12) {
			case 0, 1, 2:
				members = append(members, file(name, strconv.Itoa(r.IntN(1000))))
			case 3, 4:
				members = append(members, dir(name, int64(r.IntN(0o1000))))
			case 5, 6, 7:
				target := pick("a", "b", "../a", "/a/b", "../../../c", "/", "..", ".", "missing/x", "l", "a/../b", "/l/a", "./c/")
				members = append(members, symlink(name, target))
			case 8:
				members = append(members, hardlink(name, path()))
			case 9, 10:
				members = append(members, hide(parent+".wh."+pick("a", "b", "c", "l")))
			case 11:
				members = append(members, hide(parent+".wh..wh..opq"))
			}
		}
		layers = append(layers, members)
	}
	return layers
}

// Random images must come out as umoci unpacks them, or be refused by both. GANTRY_RANDOM_IMAGES says how many are tried.
func TestRandomAgainstUmoci(t *testing.T) {
	count := 24
	if s := os.Getenv("GANTRY_RANDOM_IMAGES"); s != "" {
		count, _ = strconv.Atoi(s)
	}
	seed := uint64(1)
	if s := os.Getenv("GANTRY_RANDOM_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	for n := range count {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			layers := randomLayers(rand.New(rand.NewPCG(seed, uint64(n))))
			var tars [][]byte
			for _, members := range layers {
				tars = append(tars, archive(t, members...))
			}
			s, err := scanAll(t, tars...)
			theirs, theirErr := byUmoci(t, tars...)
			if (err == nil) != (theirErr == nil) {
				t.Errorf("gantry: %v\numoci: %v", err, theirErr)
			}
			if err == nil && theirErr == nil {
				sameAs(t, "umoci", s.everyWay(t), theirs)
			}
			if t.Failed() {
				t.Log(describe(layers))
			}
		})
	}
}

func describe(layers [][]member) string {
	var b strings.Builder
	for k, members := range layers {
		b.WriteString("layer " + strconv.Itoa(k+1) + ":")
		for _, m := range members {
			b.WriteString(" " + string(m.Typeflag) + " " + m.Name)
			if m.Typeflag == tar.TypeSymlink || m.Typeflag == tar.TypeLink {
				b.WriteString("->" + m.Linkname)
			}
			b.WriteString(";")
		}
		b.WriteByte('\n')
	}
	return b.String()
}
