package testimages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Options say what a registry serves and how.
type Options struct {
	Storage  string // its file system storage
	ReadOnly bool   // no pushes
	Cert     string // with Key: TLS, by these PEM files
	Key      string
}

// Registry is a running docker-registry.
type Registry struct {
	Addr string // host:port on 127.0.0.1
	dir  string
	cmd  *exec.Cmd
	log  bytes.Buffer
}

// ErrNoRegistry says that the program is missing.
var ErrNoRegistry = errors.New("no docker-registry on this machine: install the Debian package of that name")

// Start starts a registry on a free port of 127.0.0.1 and waits until it answers. The caller closes it.
func Start(ctx context.Context, opts Options) (*Registry, error) {
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		return nil, ErrNoRegistry
	}
	dir, err := os.MkdirTemp("", "test-registry-")
	if err != nil {
		return nil, err
	}
	r := &Registry{dir: dir}
	if r.Addr, err = freePort(); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(config, []byte(r.config(opts)), 0o600); err != nil {
		return nil, err
	}
	r.cmd = exec.Command(program, "serve", config)
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	r.cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	if err := r.wait(ctx); err != nil {
		r.Close()
		return nil, fmt.Errorf("%w\n%s", err, r.log.String())
	}
	return r, nil
}

func (r *Registry) config(opts Options) string {
	tls := ""
	if opts.Cert != "" {
		tls = fmt.Sprintf("  tls:\n    certificate: %s\n    key: %s\n", opts.Cert, opts.Key)
	}
	return fmt.Sprintf(`version: 0.1
log:
  level: error
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: %s
  maintenance:
    readonly:
      enabled: %v
http:
  addr: %s
%s`, opts.Storage, opts.ReadOnly, r.Addr, tls)
}

// freePort finds a port that nobody listens on. Somebody could take it before the registry does; then the
// registry's start fails, and says so.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (r *Registry) wait(ctx context.Context) error {
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) && ctx.Err() == nil {
		if c, err := net.DialTimeout("tcp", r.Addr, time.Second); err == nil {
			return c.Close()
		}
		time.Sleep(5 * time.Millisecond)
	}
	return errors.New("registry does not answer")
}

// Close ends the registry, by its PID, and removes its configuration.
func (r *Registry) Close() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
	_ = os.RemoveAll(r.dir)
}
