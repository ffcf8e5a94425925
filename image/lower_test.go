package image

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inMountNamespace runs the calling test in a process with mounts of its own, so that it can leave none. It returns
// true there.
func inMountNamespace(t *testing.T) bool {
	t.Helper()
	const mark = "GANTRY_TEST_IN_MOUNT_NAMESPACE"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: it mounts")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v="+fmt.Sprint(testing.Verbose()))
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// mountsBelow lists the mounts below dir, by mountinfo.
func mountsBelow(t *testing.T, dir string) (list []string) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, " "+dir+"/") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}

func needErofs(t *testing.T, dir string) {
	t.Helper()
	if why, err := erofsUnfit(dir); err != nil || why != "" {
		t.Skipf("no EROFS here: %s %v", why, err)
	}
}

func TestLowerErofs(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	s := newStore(t, Auto)
	needErofs(t, s.Dir())
	img := addImage(t, s, "docker.io/library/app:latest", tarOf(t, "low", "1", "both", "1"), tarOf(t, "both", "2"))
	var wg sync.WaitGroup
	lowers := make([]string, 8)
	errs := make([]error, 8)
	for i := range lowers {
		wg.Go(func() {
			var list []string
			list, errs[i] = s.Lower(t.Context(), img)
			lowers[i] = strings.Join(list, ":")
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if slices.Sort(lowers); lowers[0] != lowers[7] {
		t.Errorf("lower directories differ: %v", lowers)
	}
	mounts := mountsBelow(t, s.runDir)
	if len(mounts) != 1 {
		t.Fatalf("mounts: %q, want one", mounts)
	}
	for _, flag := range []string{"ro", "nosuid", "nodev", "noexec"} {
		if !slices.Contains(strings.Split(strings.Fields(mounts[0])[5], ","), flag) {
			t.Errorf("mounted without %s: %s", flag, mounts[0])
		}
	}
	for name, want := range map[string]string{"low": "1", "both": "2"} {
		if data, err := os.ReadFile(filepath.Join(lowers[0], name)); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	checkUnmounting(t, s, img)
}

// checkUnmounting: GC leaves the mount while the image is in use, and takes it when it is not, image or no image.
func checkUnmounting(t *testing.T, s *Store, img *Image) {
	t.Helper()
	used := func() (map[string]bool, error) { return map[string]bool{img.ChainID.String(): true}, nil }
	if _, err := s.GC(t.Context(), GCOptions{InUse: used}); err != nil || len(mountsBelow(t, s.runDir)) != 1 {
		t.Errorf("GC unmounted what is in use, or failed: %v", err)
	}
	if report, err := s.GC(t.Context(), GCOptions{}); err != nil || report.Mounts != 1 || len(mountsBelow(t, s.runDir)) != 0 {
		t.Errorf("GC left the mount: %+v, %v", report, err)
	}
	lower, err := s.Lower(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.GC(t.Context(), GCOptions{Unused: true}); err != nil || len(mountsBelow(t, s.runDir)) != 0 {
		t.Errorf("GC left the mount of an image that it took: %v", err)
	}
	if _, err := os.Stat(lower[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("mount point is left: %v", err)
	}
}

// TestForgottenMount: the image went while its mount was busy. The next GC knows it all the same, and no other's.
func TestForgottenMount(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	s, other := newStore(t, Auto), newStore(t, Auto)
	needErofs(t, s.Dir())
	other.runDir = s.runDir
	img := addImage(t, s, "docker.io/library/app:latest", tarOf(t, "a", "a"))
	lower, err := s.Lower(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Lower(t.Context(), addImage(t, other, "docker.io/library/app:latest", tarOf(t, "a", "a"))); err != nil {
		t.Fatal(err)
	}
	busy, err := os.Open(filepath.Join(lower[0], "a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.GC(t.Context(), GCOptions{Unused: true}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a busy mount: %v", err)
	}
	if left := contents(t, s); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	busy.Close()
	if report, err := s.GC(t.Context(), GCOptions{}); err != nil || report.Mounts != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	if mounts := mountsBelow(t, s.runDir); len(mounts) != 1 {
		t.Errorf("mounts %q: want the other store's", mounts)
	}
}

func TestLowerMarksUse(t *testing.T) {
	s := newStore(t, Dir)
	addImage(t, s, "docker.io/library/app:latest", tarOf(t, "a", "a"))
	age(t, s, time.Hour)
	img, err := s.Get(t.Context(), mustRef(t, "app"))
	if err != nil {
		t.Fatal(err)
	}
	lower, err := s.Lower(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(lower[0], "a")); err != nil || string(data) != "a" {
		t.Errorf("%q, %v", data, err)
	}
	again, err := s.Get(t.Context(), mustRef(t, "app"))
	if err != nil || time.Since(again.LastUsed) > time.Minute {
		t.Errorf("last used %v, %v", again.LastUsed, err)
	}
}

// Stores are opened now with one backend, now with the other.
func TestBackendChanges(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	s := newStore(t, Dir)
	needErofs(t, s.Dir())
	img := addImage(t, s, "docker.io/library/app:latest", tarOf(t, "a", "a"))
	for _, backend := range []Backend{Erofs, Dir, Erofs} {
		s.backend = backend
		lower, err := s.Lower(t.Context(), img)
		if err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(filepath.Join(lower[0], "a")); err != nil || string(data) != "a" {
			t.Errorf("%s: %q, %v", backend, data, err)
		}
	}
}

func TestBackendOnTmpfs(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	s := newStore(t, Auto)
	if err := unix.Mount("tmpfs", s.Dir(), "tmpfs", 0, "size=16m"); err != nil {
		t.Fatal(err)
	}
	if backend, why, err := s.Backend(); backend != Dir || why == "" || err != nil {
		t.Errorf("auto on tmpfs is %s, %q, %v", backend, why, err)
	}
	img := addImage(t, s, "docker.io/library/app:latest", tarOf(t, "a", "a"))
	if _, err := s.Lower(t.Context(), img); err != nil {
		t.Error(err)
	}
	s.backend = Erofs
	if _, err := s.Lower(t.Context(), img); !errors.Is(err, ErrBackend) || !strings.Contains(err.Error(), "--store=dir") {
		t.Errorf("EROFS on tmpfs: %v", err)
	}
}

func TestManyLayers(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	s := newStore(t, Erofs)
	needErofs(t, s.Dir())
	var tars [][]byte
	for i := range 60 {
		tars = append(tars, tarOf(t, fmt.Sprintf("f%d", i), fmt.Sprint(i)))
	}
	lower, err := s.Lower(t.Context(), addImage(t, s, "docker.io/library/app:latest", tars...))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 30, 59} {
		if data, err := os.ReadFile(filepath.Join(lower[0], fmt.Sprintf("f%d", i))); err != nil || string(data) != fmt.Sprint(i) {
			t.Errorf("f%d: %q, %v", i, data, err)
		}
	}
}

func TestFullDisk(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	s := newStore(t, Dir)
	if err := unix.Mount("tmpfs", s.Dir(), "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	big := tarOf(t, "big", strings.Repeat("x", 2<<20))
	stage, err := s.StageLayer(t.Context(), digestOf(big))
	if err != nil {
		t.Fatal(err)
	}
	err = fill(stage, big)
	if !errors.Is(err, unix.ENOSPC) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
	if err := stage.Abort(); err != nil {
		t.Error(err)
	}
	if left := contents(t, s); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	addImage(t, s, "docker.io/library/app:latest", tarOf(t, "a", "a"))
}
