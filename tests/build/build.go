// Package build makes gantry's programs for tests, so that `go test ./...` works without make.
//
// It runs the commands of the Makefile, into the bin/ of the work tree, once per test process and under a lock
// for all of them; Go's build cache makes the second time cheap. It never builds anything but this tree.
package build

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// dirEnv names the directory of built programs, for a test process that another one started.
const dirEnv = "GANTRY_TEST_BIN"

// Dir returns the directory that holds gantry, gantry-fetch, gantry-stage1, gantry-launch, gantry-init and cni/, built from
// this tree. A tree that does not build fails the test.
func Dir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv(dirEnv); dir != "" {
		return dir
	}
	dir, err := once()
	if err != nil {
		t.Fatalf("build gantry: %v", err)
	}
	return dir
}

// touchSources looks at every source file of the programs: `go test` notes what a test looks at, and runs it again,
// instead of showing an old result, when one of these has changed.
func touchSources(root string) error {
	for _, dir := range []string{"cmd", "pods", "image", "network", "runtime", "stage1"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !strings.HasSuffix(path, "_test.go") {
				_, _ = os.Stat(path) // gone meanwhile: then the build says so
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	_, err := os.Stat(filepath.Join(root, "go.mod"))
	return err
}

// Env is what a re-executed test process needs in its environment for Dir to give the same directory.
func Env(dir string) string { return dirEnv + "=" + dir }

var once = sync.OnceValues(func() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(root, "bin")
	if err := os.MkdirAll(filepath.Join(bin, "cni"), 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(bin, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	return bin, errors.Join(touchSources(root), buildAll(root, bin))
})

// Root returns the root of the work tree: the nearest directory upwards that has a go.mod.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("find work tree: no go.mod upwards")
}

// LaunchTags are the build tags of gantry-launch.
const LaunchTags = "seccomp netgo osusergo runc_nocriu"

// goCommand is one `go build`.
type goCommand struct {
	cgo  string // CGO_ENABLED
	args []string
}

// goCommands are those of the Makefile; a test compares.
func goCommands(bin string) []goCommand {
	plain := []string{"go", "build", "-trimpath", "-ldflags", "-s -w"}
	return []goCommand{
		{"0", slices.Concat(plain, []string{"-o", bin + "/", "./cmd/gantry", "./cmd/gantry-fetch", "./cmd/gantry-stage1"})},
		{"1", []string{
			"go", "build", "-trimpath", "-tags", LaunchTags, "-ldflags", "-s -w -linkmode external -extldflags -static",
			"-o", bin + "/gantry-launch", "./cmd/gantry-launch",
		}},
	}
}

// initFlags are how gantry-init is compiled, but for warnings.
var initFlags = []string{
	"-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-Os", "-s", "-Wl,-z,noseparate-code", "-Wl,--build-id=none",
}

func buildAll(root, bin string) error {
	for _, c := range goCommands(bin) {
		if err := run(root, c.cgo, c.args...); err != nil {
			return err
		}
	}
	sources, err := filepath.Glob(filepath.Join(root, "cmd/gantry-init/*.c"))
	if err != nil {
		return err
	}
	if !newer(bin+"/gantry-init", sources) {
		cc := slices.Concat([]string{"gcc"}, initFlags, []string{"-o", bin + "/gantry-init"}, sources)
		if err := run(root, "0", cc...); err != nil {
			return err
		}
	}
	plugins, err := exec.Command("go", "-C", root, "list", "-m", "-f", "{{.Dir}}", "github.com/containernetworking/plugins").Output()
	if err != nil {
		return fmt.Errorf("find CNI plugins: %w", err)
	}
	cni := []string{"go", "build", "-trimpath", "-ldflags", "-s -w", "-mod=readonly", "-o", bin + "/cni/", "./plugins/main/...", "./plugins/ipam/...", "./plugins/meta/..."}
	return run(strings.TrimSpace(string(plugins)), "0", cni...)
}

// newer says whether output is there and no source is younger. The C compiler would write it anew each time, and
// another test process may be starting it just then; `go build` leaves an output alone that is up to date.
func newer(output string, sources []string) bool {
	out, err := os.Stat(output)
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(sources, func(s string) bool {
		info, err := os.Stat(s)
		return err != nil || info.ModTime().After(out.ModTime())
	})
}

func run(dir, cgo string, args ...string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
