package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
	"github.com/gantryrun/gantry/tests/ociimage"
)

// cuts of the power for each way of mounting.
const cuts = 6

// The power goes during a fetch: what was acknowledged is whole, what was not is whole or not to be seen, and the next
// fetch goes on.
//
// The data directory lies on an ext4 on a loop device. What of it has reached the loop's file at a moment is what a
// disk would have then: everything that only the page cache of that ext4 knows, data as well as journal, is lost in a
// copy of the file. A copy counts only if a second one is the same, so that it is of one moment. With the option "lossy" the
// disk has a cache, too, of which it loses a part, in any order, that it was not asked to flush.
func TestPowerCut(t *testing.T) {
	if !box.Enter(t, build.Env(build.Dir(t))) {
		return
	}
	ref := slowImages(t)
	for _, options := range []string{"commit=1", "commit=300", "data=writeback,commit=300", "lossy,commit=1", "lossy,commit=300"} {
		t.Run(options, func(t *testing.T) {
			d := newDisk(t, options)
			d.losesWhatIsNotSynced(t)
			acked := map[string]string{}
			cutOff := 0
			for n := range cuts {
				name := ref + fmt.Sprint(n)
				var gone <-chan loss
				switch {
				case d.lossy != nil && n == 0:
					gone = d.lossy.loseAt(1+rand.IntN(3), 0) // no fetch makes fewer writes, and all are lost
				case d.lossy != nil:
					gone = d.lossy.loseAt(1+rand.IntN(40), rand.Float64())
				}
				var out bytes.Buffer
				cmd := d.host.command(t, "fetch", "--quiet", name)
				cmd.Stdout = &out
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				go func() { done <- cmd.Wait() }()
				delay := time.Duration(rand.Int64N(int64(500 * time.Millisecond)))
				if n == cuts-1 && cutOff == 0 {
					delay = 0 // all were fast until now
				}
				if d.lossy != nil {
					delay = time.Minute
				}
				select {
				case left := <-gone:
					d.left = &left
					cutOff++
					d.cut(t, acked, name)
					if err := <-done; err == nil {
						acked[name] = strings.TrimSpace(out.String())
					}
				case err := <-done:
					if d.lossy != nil {
						d.lossy.loseAt(0, 1)
					}
					if err == nil { // acknowledged a moment ago
						acked[name] = strings.TrimSpace(out.String())
					}
					d.cut(t, acked)
				case <-time.After(delay):
					_ = cmd.Process.Signal(syscall.SIGSTOP)
					cutOff++
					d.cut(t, acked, name)
					_ = cmd.Process.Kill()
					if err := <-done; err == nil {
						acked[name] = strings.TrimSpace(out.String()) // it had ended just before
					}
				}
				if t.Failed() {
					t.Fatalf("cut %d after %s", n, delay)
				}
			}
			// One that is acknowledged, in any case, and then the power goes.
			acked[ref+"last"] = strings.TrimSpace(d.host.must(t, "fetch", "--quiet", ref+"last"))
			d.cut(t, acked)
			if d.lossy != nil && d.lost == 0 {
				t.Error("the test does not test: no write was lost")
			}
			if cutOff == 0 {
				t.Error("the test does not test: no fetch was under way")
			}
			t.Logf("%d cuts, %d of them within a fetch; %d acknowledged fetches", cuts+1, cutOff, len(acked))
		})
	}
}

// slowImages serves images at a pace that leaves room to be cut off, and returns their name but for the tag.
func slowImages(t *testing.T) string {
	t.Helper()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			time.Sleep(rand.N(200 * time.Millisecond))
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	at := strings.TrimPrefix(server.URL, "http://") + "/app:"
	noise := make([]byte, 1<<18)
	random := rand.New(rand.NewPCG(1, 2))
	shared := layerOf(t, random, noise, "shared")
	tags := []string{"last"}
	for n := range cuts {
		tags = append(tags, fmt.Sprint(n))
	}
	for _, tag := range tags {
		img, err := ociimage.Image(v1.Config{}, shared, layerOf(t, random, noise, tag), layerOf(t, random, noise, tag+"b"))
		if err != nil {
			t.Fatal(err)
		}
		to, err := name.NewTag(at + tag)
		if err == nil {
			err = remote.Write(to, img)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return at
}

func layerOf(t *testing.T, random *rand.Rand, noise []byte, file string) v1.Layer {
	t.Helper()
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	l, err := ociimage.Layer(ociimage.Dir("d"), ociimage.File("d/"+file, string(noise)))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// disk is an ext4 in a file, with a host's data directory on it.
type disk struct {
	file  string
	host  *host
	lossy *lossyDisk // with a cache, or nil
	left  *loss      // what is left of that, if the power has gone
	lost  int        // writes so far
}

func newDisk(t *testing.T, options string) *disk {
	t.Helper()
	dir := t.TempDir()
	d := &disk{file: filepath.Join(dir, "disk"), host: &host{bin: build.Dir(t), dir: filepath.Join(dir, "mnt", "data")}}
	f, err := os.Create(d.file)
	if err == nil {
		err = errors.Join(f.Truncate(96<<20), f.Close(), os.Mkdir(filepath.Join(dir, "mnt"), 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	sh(t, "mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.file)
	if options, lossy := strings.CutPrefix(options, "lossy,"); lossy {
		d.lossy = lossyMount(t, d.file, filepath.Join(dir, "mnt"), options)
	} else {
		mount(t, d.file, filepath.Join(dir, "mnt"), "loop,"+options)
	}
	sh(t, "sync", "-f", filepath.Join(dir, "mnt"))
	return d
}

func sh(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func mount(t *testing.T, file, dir, options string) {
	t.Helper()
	sh(t, "mount", "-o", options, file, dir)
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// losesWhatIsNotSynced shows that a copy is what it is said to be.
func (d *disk) losesWhatIsNotSynced(t *testing.T) {
	t.Helper()
	path := filepath.Join(filepath.Dir(d.host.dir), "lost")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	to := d.copyNow(t)
	if data, err := os.ReadFile(filepath.Join(to, "lost")); err == nil && bytes.Count(data, []byte("x")) == 1<<20 {
		t.Fatal("the test does not test: what was never synced is in the copy")
	}
	sh(t, "umount", to)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// copyNow mounts what the disk holds at this moment, its journal replayed, as after the power came back.
func (d *disk) copyNow(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	one, two, to := filepath.Join(dir, "one"), filepath.Join(dir, "two"), filepath.Join(dir, "mnt")
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	if d.lossy != nil {
		if d.left == nil {
			now := d.lossy.loseNow()
			d.left = &now
		}
		left := *d.left
		d.left = nil
		if left.err != nil {
			t.Fatal(left.err)
		}
		t.Logf("%d of %d writes that were not flushed are not whole", left.lost, left.all)
		d.lost += left.lost
		mount(t, left.file, to, "loop")
		return to
	}
	for try := 0; ; try++ {
		sh(t, "cp", "--sparse=always", d.file, one)
		sh(t, "cp", "--sparse=always", d.file, two)
		if exec.Command("cmp", "-s", one, two).Run() == nil {
			break
		}
		if try == 500 {
			t.Fatal("the disk never rests")
		}
	}
	if err := os.Remove(two); err != nil {
		t.Fatal(err)
	}
	mount(t, one, to, "loop")
	return to
}

// cut looks at the machine after the power came back. What is in acked must be there; of the rest, only whole images.
func (d *disk) cut(t *testing.T, acked map[string]string, underWay ...string) {
	t.Helper()
	to := d.copyNow(t)
	after := &host{bin: d.host.bin, dir: filepath.Join(to, "data")}
	listed := strings.Fields(after.must(t, "image", "list", "--full", "--no-legend", "--fields=name"))
	for name, id := range acked {
		if !slices.Contains(listed, name) || !strings.Contains(after.must(t, "image", "list", "--full", "--no-legend", "--fields=id,name"), id) {
			t.Errorf("%s was acknowledged as %s, and is lost: %q", name, id, listed)
		}
	}
	rand.Shuffle(len(listed), func(i, j int) { listed[i], listed[j] = listed[j], listed[i] })
	for n, name := range listed {
		if n >= 3 && !slices.Contains(underWay, name) {
			continue // the others' turn comes with other cuts
		}
		if code, out, errs := after.run(t, "image", "verify", name); code != 0 {
			t.Errorf("%s is not whole: %s%s", name, out, errs)
		}
		if acked[name] == "" && !slices.Contains(underWay, name) && !strings.Contains(name, "/app:") {
			t.Errorf("%s was never fetched", name)
		}
	}
	for _, name := range underWay {
		after.must(t, "fetch", "--quiet", name)
		after.must(t, "image", "verify", name)
	}
	after.must(t, "image", "gc", "--grace-period=24h")
	if left, _ := filepath.Glob(filepath.Join(after.dir, "*", ".new-*")); len(left) > 0 {
		t.Errorf("left after gc: %v", left)
	}
	sh(t, "umount", to)
}
