// Command demo shows what gantry does, on this machine, without a network: a pod of two apps from an image that
// is embedded here, one serving HTTP, the other asking it. `make demo` builds what it needs.
//
// It uses a data directory of its own, prints every command that it runs, and ends with a check that the machine
// is as it was.
package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/invariant"
)

//go:embed image
var images embed.FS

func main() {
	bin := flag.String("bin", "bin", "directory of gantry's programs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx, *bin); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

// run makes the demo's directory, plays, and checks what is left.
func run(ctx context.Context, bin string) (err error) {
	if os.Getuid() != 0 {
		return errors.New("needs root: a pod is namespaces, mounts and a network")
	}
	image, err := images.ReadFile("image/demo.oci.tar")
	if err != nil {
		return errors.New("the image is not built: run make demo")
	}
	work, err := os.MkdirTemp("", "gantry-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.WriteFile(filepath.Join(work, "demo.oci.tar"), image, 0o644); err != nil {
		return err
	}
	bin, err = filepath.Abs(bin)
	if err != nil {
		return err
	}
	d := demo{gantry: filepath.Join(bin, "gantry"), work: work}
	opts := invariant.Options{Dirs: []string{d.dir()}}
	before, err := invariant.Take(opts)
	if err != nil {
		return err
	}
	if err := d.play(ctx); err != nil {
		d.sweep()
		return err
	}
	diff, err := invariant.Settle(before, opts)
	if err != nil {
		return err
	}
	return judge(diff, d.uuid)
}

// judge tells what gantry left, which is a failure, from what others changed on the machine meanwhile.
func judge(diff []string, uuid string) error {
	var ours []string
	for _, line := range diff {
		if strings.HasPrefix(line, "-") || strings.Contains(line, "gantry-box-") || strings.Contains(line, "gantry-host-") {
			continue // gone, or of a test that runs beside
		}
		if strings.HasPrefix(line, "+ process") && !box.Inside() && !strings.Contains(line, uuid) {
			continue // of another pod on this machine
		}
		if box.Inside() || strings.Contains(line, "gantry") || strings.Contains(line, uuid) || strings.HasSuffix(line, " web") {
			ours = append(ours, line)
		}
	}
	if len(ours) > 0 {
		return fmt.Errorf("the machine is not as it was:\n%s", strings.Join(ours, "\n"))
	}
	if len(diff) > 0 {
		const shown = 10
		what := strings.Join(diff[:min(shown, len(diff))], "\n")
		if more := len(diff) - shown; more > 0 {
			what += fmt.Sprintf("\nand %d things more", more)
		}
		say("Meanwhile others changed this on the machine:\n" + what)
	}
	say("Of the pod nothing is left: no process, mount, network device, rule, cgroup, lease or lock.")
	return nil
}

type demo struct {
	gantry string
	work   string
	uuid   string
}

func (d *demo) dir() string { return filepath.Join(d.work, "data") }

// play is the demo, step by step.
func (d *demo) play(ctx context.Context) error {
	image := "oci-archive:" + filepath.Join(d.work, "demo.oci.tar")
	say("Fetch the image: verified, stored as the layers that it is made of, indexed.")
	if _, err := d.do(ctx, "fetch", image); err != nil {
		return err
	}
	say("Run a pod of two apps on the default network. --detach returns when it runs; no daemon stays, only the pod's supervisor.")
	out, err := d.do(ctx, "run", "--detach", "--hostname=demo",
		image, "--name=server", "--", "serve", "8080", "---",
		image, "--name=client", "--", "ask", "8080", "60", "---")
	if err != nil {
		return err
	}
	d.uuid = strings.TrimSpace(out)
	say("What runs:")
	if _, err := d.do(ctx, "list"); err != nil {
		return err
	}
	status, err := d.do(ctx, "status", d.uuid)
	if err != nil {
		return err
	}
	say("The host asks the server over the pod's address.")
	if err := askHost(ctx, status); err != nil {
		return err
	}
	say("The client asks it over localhost: the apps share their network. What both wrote:")
	if err := d.waitLog(ctx, "the server says: answer"); err != nil {
		return err
	}
	say("Stop the pod: SIGTERM to each app, in order, and SIGKILL to what does not listen.")
	for _, args := range [][]string{{"stop", d.uuid}, {"status", "--wait", d.uuid}, {"logs", "--tail=1", d.uuid}} {
		if _, err := d.do(ctx, args...); err != nil {
			return err
		}
	}
	say("Collect it, and the image.")
	return d.collect(ctx)
}

func (d *demo) collect(ctx context.Context) error {
	for _, args := range [][]string{{"gc", "--grace-period=0s"}, {"image", "gc", "--grace-period=0s"}, {"list"}} {
		if _, err := d.do(ctx, args...); err != nil {
			return err
		}
	}
	return d.resetSysctls(ctx)
}

// resetSysctls lets the host forward packets only if it did before the demo. gc leaves that alone, because others may have
// come to rely on it; here nobody had the time.
func (d *demo) resetSysctls(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, filepath.Join(filepath.Dir(d.gantry), "gantry-stage1"), "reset-network", "--sysctls").CombinedOutput()
	if err != nil {
		return fmt.Errorf("reset network: %w\n%s", err, out)
	}
	return nil
}

// sweep removes what a broken-off demo left.
func (d *demo) sweep() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if d.uuid != "" {
		_, _ = d.do(ctx, "stop", "--force", d.uuid)
	}
	_ = d.collect(ctx)
}

// do prints a command, runs it and prints what it says.
func (d *demo) do(ctx context.Context, args ...string) (string, error) {
	fmt.Printf("$ gantry %s\n", strings.ReplaceAll(strings.Join(args, " "), d.work+"/", ""))
	out, err := d.run(ctx, args...)
	for line := range strings.Lines(out) {
		fmt.Printf("  %s", line)
	}
	return out, err
}

func (d *demo) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, d.gantry, append([]string{"--dir=" + d.dir()}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("gantry %s: %w\n%s", args[0], err, stderr.String())
	}
	return stdout.String(), nil
}

// waitLog waits until the pod's logs show text, then prints them.
func (d *demo) waitLog(ctx context.Context, text string) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		out, err := d.run(ctx, "logs", d.uuid)
		if err != nil {
			return err
		}
		if strings.Contains(out, text) {
			_, err := d.do(ctx, "logs", d.uuid)
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%q is not in the logs:\n%s", text, out)
		}
	}
}

var address = regexp.MustCompile(`ip4=([0-9.]+)`)

// askHost asks the server from the host, at the address that gantry status gave.
func askHost(ctx context.Context, status string) error {
	m := address.FindStringSubmatch(status)
	if m == nil {
		return fmt.Errorf("no address in the status:\n%s", status)
	}
	url := "http://" + m[1] + ":8080/"
	fmt.Printf("$ curl %s\n", url)
	client := http.Client{Transport: &http.Transport{Proxy: nil}, Timeout: 20 * time.Second}
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) { // the server is starting
		var req *http.Request
		if req, err = http.NewRequestWithContext(ctx, http.MethodGet, url, nil); err != nil {
			return err
		}
		var resp *http.Response
		if resp, err = client.Do(req); err == nil {
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			fmt.Printf("  %s", body)
			return err
		}
	}
	return fmt.Errorf("ask the server: %w", err)
}

func say(text string) { fmt.Printf("\n%s\n", text) }
