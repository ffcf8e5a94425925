package hostile

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
	"github.com/gantryrun/gantry/tests/invariant"
)

func TestMain(m *testing.M) {
	// The cases wait for disk and processes most of the time.
	if err := flag.Set("test.parallel", fmt.Sprint(stores)); err != nil {
		panic(err)
	}
	os.Exit(box.Main(m))
}

// Bounds of one attack. Time is generous, because the machine may be busy; what is meant is "not without end".
const (
	maxTime   = 8 * time.Minute
	maxMemory = 128 << 20
	atLeast   = 250
)

// attack is one hostile thing.
type attack struct {
	name string
	// row of the catalogue, and precedent: a CVE, an advisory, or another project's test or issue.
	row, precedent string
	// prepare makes it and returns the arguments of gantry; none: it has done everything itself.
	prepare func(k *kit) []string
	// refuse is what the one line on stderr has to say; empty: gantry takes it.
	refuse string
	// after looks at what became of it.
	after func(k *kit, r result)
}

// catalogue is the whole suite.
func catalogue() []attack {
	return slices.Concat(
		wrongBytes(), endless(), confused(), badDigests(), credentials(), bombs(), superlinear(), loops(), renaming(),
		control(), users(), passwd(), escapes(),
		breakouts(), refusedTars(), whiteouts(), devices(), private(), xattrs(), names(), exact(), diffIDs(), fileSystems(), targets(),
		prefixes(), moved(), openPGP(), mutations(), rollbacks(), evidence(), rot(),
	)
}

// rows that must have a case each.
func rows() (all []string) {
	for _, s := range []struct {
		letter string
		most   int
	}{{"F", 13}, {"U", 12}, {"T", 7}} {
		for n := range s.most {
			all = append(all, fmt.Sprintf("%s%d", s.letter, n+1))
		}
	}
	return all
}

// TestCatalogue: every row has a case, every case says what it is, and there are enough.
func TestCatalogue(t *testing.T) {
	count, names := map[string]int{}, map[string]bool{}
	all := catalogue()
	for _, a := range all {
		if a.name == "" || a.precedent == "" || a.prepare == nil || !slices.Contains(rows(), a.row) || names[a.row+a.name] {
			t.Errorf("attack %s %q (%s): incomplete, or twice", a.row, a.name, a.precedent)
		}
		names[a.row+a.name] = true
		count[a.row]++
	}
	var line strings.Builder
	for _, r := range rows() {
		fmt.Fprintf(&line, " %s:%d", r, count[r])
		if count[r] == 0 {
			t.Errorf("row %s has no case", r)
		}
	}
	if len(all) < atLeast {
		t.Errorf("%d cases, %d wanted", len(all), atLeast)
	}
	t.Logf("%d hostile images, archives, registries and stores:%s", len(all), line.String())
}

// only is the variable that restricts TestHostile to cases whose "row/name" begins with its value.
const only = "GANTRY_TEST_HOSTILE"

// stores are used side by side, one attack at a time in each.
const stores = 6

// TestHostile is the suite.
func TestHostile(t *testing.T) {
	if !box.Enter(t, build.Env(build.Dir(t))) {
		return
	}
	disk := smallDisk(t)
	sentinel := newSentinel(t)
	opts := invariant.Options{Standing: true}
	before, err := invariant.Take(opts)
	if err != nil {
		t.Fatal(err)
	}
	free := make(chan *host, stores)
	for n := range stores {
		h := newHost(t, filepath.Join(disk, fmt.Sprint(n)), sentinel)
		opts.Dirs = append(opts.Dirs, h.dir)
		free <- h
	}
	t.Run("cases", func(t *testing.T) {
		for _, a := range catalogue() {
			if !strings.HasPrefix(a.row+"/"+a.name, os.Getenv(only)) {
				continue
			}
			t.Run(a.row+"/"+a.name, func(t *testing.T) {
				t.Parallel()
				h := <-free
				defer func() { free <- h }()
				h.attack(t, a)
			})
		}
	})
	if took := sentinel.changed(); took != "" {
		t.Errorf("the host changed: %s", took)
	}
	for range stores {
		h := <-free
		h.must(t, "gc", "--grace-period=0s", "--expire-prepared=0s")
		h.must(t, "image", "gc", "--grace-period=0s")
	}
	invariant.Check(t, before, opts)
}
