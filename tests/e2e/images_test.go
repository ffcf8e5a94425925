package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantryrun/gantry/tests/await"
	"github.com/gantryrun/gantry/tests/box"
	"github.com/gantryrun/gantry/tests/build"
	"github.com/gantryrun/gantry/tests/testimages"
)

// A pod of nginx and redis, fetched from a real registry: the host reaches both, and the exit code is the apps'.
func TestNginxAndRedis(t *testing.T) {
	testimages.Layout(t, "nginx")
	testimages.Layout(t, "redis")
	if !box.Enter(t, build.Env(build.Dir(t))) {
		return
	}
	h := newHost(t)
	reg := testimages.Serve(t, "nginx", "redis")
	uuidFile := filepath.Join(t.TempDir(), "uuid")
	cmd := h.command(t, "run", "--uuid-file-save="+uuidFile,
		"docker://"+reg+"/nginx:1", "--name=web", "---", reg+"/redis:1-zstd", "--name=cache", "---")
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	await.Until(t, "the pod to run", func() bool {
		select {
		case err := <-done:
			t.Fatalf("gantry run ended: %v\n%s", err, log.String())
		default:
		}
		data, err := os.ReadFile(uuidFile)
		return err == nil && len(data) > 0 && h.state(t, strings.TrimSpace(string(data))) == "running"
	})
	data, err := os.ReadFile(uuidFile)
	if err != nil {
		t.Fatal(err)
	}
	uuid := strings.TrimSpace(string(data))
	h.must(t, "status", "--wait-ready=60s", uuid)
	ip := h.field(t, uuid, addressOf)

	await.Until(t, "nginx", func() bool { return get("http://"+ip+"/") == "nginx in a pod\n" })
	await.Until(t, "redis", func() bool { return redisPing(ip) == "+PONG" })
	if out := h.must(t, "enter", "--app=cache", uuid, "redis-cli", "-h", "127.0.0.1", "ping"); strings.TrimSpace(out) != "PONG" {
		t.Errorf("redis-cli in the pod says %q", out)
	}
	h.must(t, "stop", uuid)
	if err := <-done; err != nil {
		t.Errorf("both apps end with 0 when asked to stop, but gantry run: %v\n%s", err, log.String())
	}
	if out := log.String(); !strings.Contains(out, "GET / HTTP/1.1") {
		t.Errorf("nginx's access log is not in the pod's output:\n%s", out)
	}
	if code, _, stderr := h.run(t, "run", "--net=none", reg+"/nginx:1", "--", "nginx", "-c", "/nosuch"); code != 1 {
		t.Errorf("exit code %d of an nginx without configuration, want its own 1\n%s", code, stderr)
	}
	h.check(t)
}

// get is the body of an answer, or the error.
func get(url string) string {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

func redisPing(ip string) string {
	c, err := net.DialTimeout("tcp", ip+":6379", 20*time.Second)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(c, "PING\r\n")
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(line)
}

// Over TLS, a registry is believed only with a certificate of a known authority, or one that registries.d names.
func TestRegistryTLS(t *testing.T) {
	testimages.Layout(t, "busybox")
	if !box.Enter(t, build.Env(build.Dir(t))) {
		return
	}
	h := newHost(t)
	dir := t.TempDir()
	ca, cert, key := testimages.Certificate(t, dir)
	reg, err := testimages.Start(t.Context(), testimages.Options{
		Storage: filepath.Join(testimages.Cache(), "registry"), ReadOnly: true, Cert: cert, Key: key,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()

	if code, _, stderr := h.run(t, "fetch", reg.Addr+"/busybox:1"); code != 254 || !strings.Contains(stderr, "certificate") {
		t.Errorf("fetch from an unknown authority: code %d, want 254 and a word about the certificate\n%s", code, stderr)
	}
	config := filepath.Join(dir, "config", "registries.d")
	if err := os.MkdirAll(config, 0o755); err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"kind":"registries","version":"v1","registries":[{"prefix":%q,"ca":%q}]}`, reg.Addr, ca)
	if err := os.WriteFile(filepath.Join(config, "test.json"), []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
	local := "--local-config=" + filepath.Dir(config)
	h.must(t, local, "fetch", reg.Addr+"/busybox:1")
	if out := h.must(t, local, "run", "--net=none", reg.Addr+"/busybox:1", "--", "echo", "over TLS"); out != "over TLS\n" {
		t.Errorf("stdout %q", out)
	}
	reg.Close()
	h.check(t)
}
