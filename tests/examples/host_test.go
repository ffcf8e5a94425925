package examples

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
	"github.com/gantryrun/gantry/tests/invariant"
	"github.com/gantryrun/gantry/tests/ociimage"
)

func TestMain(m *testing.M) { os.Exit(box.Main(m)) }

// furniture makes a host in new mount and network namespaces: /etc over the machine's, and empty /run, /opt and /var/lib.
const furniture = `
mount -t tmpfs -o mode=755 run /run; mkdir /run/lock
mkdir "$1/etc" "$1/work" "$1/opt" "$1/lib"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/etc,workdir=$1/work" overlay /etc
mount --bind "$1/opt" /opt; mount --bind "$1/lib" /var/lib
ip link set lo up; rm -rf /etc/gantry
echo ready; exec sleep 100000`

// host is a machine of its own, as far as gantry can tell.
type host struct {
	t       *testing.T
	name    string
	dir     string // for files of the test
	process *exec.Cmd
	env     []string
}

// newHost makes a host that ends with the test.
func newHost(t *testing.T, name string) *host {
	t.Helper()
	h := &host{t: t, name: name, dir: t.TempDir()}
	h.process = exec.Command("unshare", "--mount", "--net", "--propagation=private", "sh", "-euc", furniture, "sh", h.dir)
	h.process.Stderr = os.Stderr
	out, err := h.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.process.Process.Kill(); _ = h.process.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("make host %s: %q, %v", name, line, err)
	}
	h.env = append(os.Environ(), "PATH="+build.Dir(t)+":"+os.Getenv("PATH")+":/usr/sbin:/sbin:/usr/local/go/bin")
	return h
}

// try runs a script on the host, from the root of the work tree.
func (h *host) try(script string, env ...string) (string, error) {
	h.t.Helper()
	root, err := build.Root()
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command("nsenter", "--mount", "--net", "--target", fmt.Sprint(h.process.Process.Pid), "sh", "-euc", "cd "+root+"\n"+script)
	cmd.Env = slices.Concat(h.env, env)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// sh is try that must succeed.
func (h *host) sh(script string, env ...string) string {
	h.t.Helper()
	out, err := h.try(script, env...)
	if err != nil {
		h.t.Fatalf("on host %s: %s: %v\n%s", h.name, script, err, out)
	}
	return out
}

// await runs a script until it succeeds.
func (h *host) await(script string) string {
	h.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		out, err := h.try(script)
		if err == nil {
			return out
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("on host %s: waited in vain for %s: %v\n%s", h.name, script, err, out)
		}
	}
}

// collect removes every pod of the host and fails the test with what is left of it.
func (h *host) collect() {
	h.t.Helper()
	h.sh("gantry gc --grace-period=0s --expire-prepared=0s; gantry image gc --grace-period=0s")
	for what, script := range map[string]string{
		"leases":     `find /run/gantry/leases -name '*.*.*.*' -type f`,
		"rules":      `nft list ruleset`,
		"interfaces": `ip -o link | grep -E 'gantry|gwg|tun' || true`,
		"pods":       `ls /run/gantry/pods`,
	} {
		h.t.Logf("%s of host %s have to be gone", what, h.name) // the kernel takes its time for some
		h.await("left=$(" + script + "); [ -z \"$left\" ] || { echo \"$left\"; exit 1; }")
	}
}

// enter is what every test here begins with. It returns false outside of the box; inside, the box is checked for leaks at the end.
func enter(t *testing.T, programs ...string) bool {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("skipped: no program %s: run make test-deps", p)
		}
	}
	if !box.Enter(t, build.Env(build.Dir(t))) {
		return false
	}
	opts := invariant.Options{}
	before, err := invariant.Take(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { invariant.Check(t, before, opts) }) // runs last: after the hosts are gone
	return true
}

// wire lays cables from the hosts to a bridge of the box: the hosts are 192.0.2.1, 192.0.2.2, …
func wire(t *testing.T, hosts ...*host) {
	t.Helper()
	run := func(args ...string) {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v\n%s", args, err, out)
		}
	}
	run("link", "add", "wire", "type", "bridge")
	t.Cleanup(func() { run("link", "del", "wire") })
	run("link", "set", "wire", "up")
	for i, h := range hosts {
		pid, port := fmt.Sprint(h.process.Process.Pid), fmt.Sprintf("port%d", i)
		run("link", "add", port, "type", "veth", "peer", "name", "uplink", "netns", pid)
		run("link", "set", port, "master", "wire", "up")
		h.sh(fmt.Sprintf("ip addr add 192.0.2.%d/24 dev uplink; ip link set uplink up", i+1))
	}
}

// archive packs busybox, programs of this machine and files as an image, and gives the reference that fetches it.
func archive(t *testing.T, name string, programs []string, config v1.Config, files ...ociimage.Entry) string {
	t.Helper()
	entries, err := ociimage.BusyboxEntries()
	if err != nil {
		t.Skipf("skipped: %v", err)
	}
	for _, p := range programs {
		more, err := ociimage.Program(p)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, more...)
	}
	layer, err := ociimage.Layer(append(entries, files...)...)
	if err != nil {
		t.Fatal(err)
	}
	config.Env = append(config.Env, "PATH=/bin")
	img, err := ociimage.Image(config, layer)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), name+".tar")
	if err := ociimage.WriteArchive(file, img, name); err != nil {
		t.Fatal(err)
	}
	return "oci-archive:" + file + ":" + name
}

// blocks takes the code of an example's README that is marked with a word.
func blocks(t *testing.T, example, mark string) string {
	t.Helper()
	root, err := build.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "examples", example, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	inside := false
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.TrimSpace(line) == "```sh "+mark:
			inside = true
		case strings.HasPrefix(line, "```"):
			inside = false
		case inside:
			script.WriteString(line)
		}
	}
	if script.Len() == 0 {
		t.Fatalf("examples/%s/README.md has no block %q", example, mark)
	}
	return script.String()
}
