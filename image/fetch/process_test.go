package fetch

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
)

// Tests that need processes of their own: the test binary runs itself, told by the environment what to be.

const (
	envRole  = "GANTRY_TEST_ROLE"
	envStore = "GANTRY_TEST_STORE"
	envRef   = "GANTRY_TEST_REF"
)

// TestRole is no test: it is what the other processes run.
func TestRole(t *testing.T) {
	role := os.Getenv(envRole)
	if role == "" {
		t.Skip("only runs in processes that other tests start")
	}
	store, err := image.Open(os.Getenv(envStore), image.Options{RunDir: filepath.Join(os.Getenv(envStore), "run")})
	if err != nil {
		t.Fatal(err)
	}
	if role == "full disk" {
		if err := unix.Mount("tmpfs", store.Dir(), "tmpfs", 0, "size=4m"); err != nil {
			t.Fatal(err)
		}
	}
	_, err = (&Client{Store: store}).Fetch(t.Context(), mustRef(t, os.Getenv(envRef)), order.Options{})
	if role == "full disk" {
		if !errors.Is(err, unix.ENOSPC) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v", err)
		}
		wantEmpty(t, store)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
}

// start runs TestRole in another process.
func start(t *testing.T, role string, store *image.Store, ref image.Ref) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestRole$")
	cmd.Env = append(os.Environ(), envRole+"="+role, envStore+"="+store.Dir(), envRef+"="+ref.String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if role == "full disk" {
		cmd.SysProcAttr.Unshareflags = unix.CLONE_NEWNS
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: it mounts a small file system")
	}
	reg := newRegistry(t)
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "a", numbered(8<<20))))
	if err := start(t, "full disk", newStore(t), ref).Wait(); err != nil {
		t.Error(err)
	}
}

// TestKilled: a fetch that is killed anywhere leaves nothing that GC does not take, and no obstacle for the next.
func TestKilled(t *testing.T) {
	reg := newRegistry(t)
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "a", numbered(4<<20)), gzLayer(t, "b", numbered(4<<20))))
	for _, after := range []time.Duration{10, 20, 40, 60, 80, 120} {
		store := newStore(t)
		cmd := start(t, "fetch", store, ref)
		time.Sleep(after * time.Millisecond) // where it is by then is up to chance: that is the point
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		if cmd.Wait() == nil {
			continue
		}
		images, err := store.List(t.Context())
		if err != nil {
			t.Errorf("after %d ms: %v", after, err)
		}
		if len(images) == 0 {
			wantEmpty(t, store)
		}
		if _, err := (&Client{Store: store}).Fetch(t.Context(), ref, order.Options{}); err != nil {
			t.Errorf("after %d ms: fetch again: %v", after, err)
		}
	}
}

func TestWaiterTakesOver(t *testing.T) {
	reg, store := newRegistry(t), newStore(t)
	layer := gzLayer(t, "a", numbered(4<<20))
	ref := reg.push(t, "app:v1", newImage(t, layer))
	reached, hang := make(chan bool, 1), true
	reg.on(func(w http.ResponseWriter, r *http.Request) bool {
		if !hang || !strings.HasSuffix(r.URL.Path, layerDigest(t, layer).String()) {
			return false
		}
		hang = false
		stallWith(w, r, reached)
		return true
	})
	cmd := start(t, "fetch", store, ref)
	<-reached
	done := make(chan error, 1)
	go func() {
		_, err := (&Client{Store: store}).Fetch(t.Context(), ref, order.Options{})
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("the second fetcher did not wait: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// stallWith sends the beginning of something, says so, and waits for the client to go.
func stallWith(w http.ResponseWriter, r *http.Request, reached chan<- bool) {
	w.Header().Set("Content-Type", string(types.OCILayer))
	_, _ = w.Write([]byte("\x1f\x8b"))
	w.(http.Flusher).Flush()
	reached <- true
	<-r.Context().Done()
}

// TestDistribution is against the registry that most people run.
func TestDistribution(t *testing.T) {
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skipf("no docker-registry (Debian package of that name): %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := listener.Addr().String()
	listener.Close()
	config := filepath.Join(t.TempDir(), "config.yml")
	yaml := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", t.TempDir(), host)
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "serve", config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for tries := 0; ; tries++ {
		conn, err := net.Dial("tcp", host)
		if err == nil {
			conn.Close()
			break
		}
		if tries == 100 {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	reg := &faultRegistry{}
	reg.Server = newRegistry(t).Server
	reg.URL = "http://" + host
	ref := reg.push(t, "team/app:v1", newImage(t, gzLayer(t, "a", numbered(1<<20)), gzLayer(t, "b", "b")))
	c := newClient(t)
	img, err := c.Fetch(t.Context(), ref, order.Options{})
	if err != nil {
		t.Fatal(err)
	}
	checkStored(t, c.Store, img, ref)
	byDigest := ref
	byDigest.Tag, byDigest.Digest = "", img.ID
	if again, err := c.Fetch(t.Context(), byDigest, order.Options{}); err != nil || again.ID != img.ID {
		t.Errorf("by digest: %v, %v", again, err)
	}
	if _, err := c.Fetch(t.Context(), mustRef(t, host+"/team/nothing:v1"), order.Options{}); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("unknown image: %v", err)
	}
}

// TestFailureLeavesNoLayers: a good layer beside a bad one does not stay when the image cannot come.
func TestFailureLeavesNoLayers(t *testing.T) {
	reg, c := newRegistry(t), newClient(t)
	plain := tarOf(t, "b", "b")
	ref := reg.push(t, "app:v1", newImage(t, gzLayer(t, "a", numbered(1<<20)), newLayer(gz(t, plain), tarOf(t, "b", "c"), types.OCILayer)))
	shared := reg.push(t, "other:v1", newImage(t, gzLayer(t, "a", numbered(1<<20))))
	for _, withOther := range []bool{false, true} {
		want := 0
		if withOther { // an image that has the good layer keeps it
			if _, err := c.Fetch(t.Context(), shared, order.Options{}); err != nil {
				t.Fatal(err)
			}
			want = 1
		}
		if _, err := c.Fetch(t.Context(), ref, order.Options{}); err == nil {
			t.Fatal("fetched")
		}
		if layers, _ := filepath.Glob(filepath.Join(c.Store.Dir(), "layers", "*")); len(layers) != want {
			t.Errorf("layers left: %v", layers)
		}
	}
}
