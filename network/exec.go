package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/network/rules"
)

// builtinDir is the directory that built-in plugins seem to lie in. No file is ever looked for there.
const builtinDir = "gantry:"

// errKilled says that a plugin did not end by itself.
var errKilled = errors.New("killed")

// maxPluginOutput bounds what a plugin may print; a result is a few kilobytes.
const maxPluginOutput = 1 << 20

// pluginExec is libcni's way to plugins: types that gantry implements run in process, all others are executed, each with
// a time limit after which its whole process group is killed.
type pluginExec struct {
	version.PluginDecoder
	host *Host
	list *libcni.NetworkConfigList
	// links makes DEL of the built-in plugins remove the veth pair and wait for it.
	links bool
	// former is what DEL of programs is told of ADD.
	former types.Result
	// state is what CHECK of the built-in plugins compares with.
	state *rules.State
}

var _ invoke.Exec = (*pluginExec)(nil)

// FindInPath gives a path for a plugin type; implements invoke.Exec.
func (x *pluginExec) FindInPath(plugin string, dirs []string) (string, error) {
	if conf.Builtin(plugin) {
		return builtinDir + plugin, nil
	}
	if strings.ContainsRune(plugin, '/') {
		return "", fmt.Errorf("plugin type %q is a path", plugin)
	}
	path, err := invoke.FindInPath(plugin, dirs)
	if err != nil {
		return "", fmt.Errorf("plugin %q is not in %q", plugin, dirs)
	}
	return path, nil
}

// ExecPlugin runs one plugin once; implements invoke.Exec.
func (x *pluginExec) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	if name, ok := strings.CutPrefix(path, builtinDir); ok {
		return x.runBuiltin(ctx, name, stdin, environ)
	}
	ctx, cancel := context.WithTimeout(ctx, x.host.timeout())
	defer cancel()
	var stdout, stderr limitedBuffer
	c := exec.CommandContext(ctx, path)
	c.Env, c.Stdin, c.Stdout, c.Stderr = environ, bytes.NewReader(stdin), &stdout, &stderr
	// A process group of its own, so that what the plugin has started (iptables, say) dies with it. If we are killed the plugin
	// must not go on behind gc's back; the signal comes when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var err error
	if c.SysProcAttr, err = x.host.bornInCgroup(); err != nil {
		return nil, err
	}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	// A grandchild that left the group may hold the pipes open; its output is not waited for.
	c.WaitDelay = time.Second
	err = c.Run()
	if errors.Is(err, exec.ErrWaitDelay) && c.ProcessState.Success() {
		err = nil // it has done its work, and left somebody behind who holds the pipes
	}
	switch cause := ctx.Err(); {
	case stdout.over:
		return nil, fmt.Errorf("printed more than %d bytes", maxPluginOutput)
	case err == nil:
		return stdout.Bytes(), nil
	case errors.Is(cause, context.DeadlineExceeded):
		return nil, fmt.Errorf("%w after %s", errKilled, x.host.timeout())
	case cause != nil:
		return nil, fmt.Errorf("%w: %w", errKilled, cause)
	}
	return nil, pluginError(err, stdout.Bytes(), stderr.Bytes())
}

// pluginError makes one line of what a failed plugin printed: the error object of the CNI specification on stdout, else
// whatever is there.
func pluginError(err error, stdout, stderr []byte) error {
	var e types.Error
	if jerr := json.Unmarshal(stdout, &e); jerr == nil && e.Msg != "" {
		return &e
	}
	out := bytes.TrimSpace(stderr)
	if len(out) == 0 {
		out = bytes.TrimSpace(stdout)
	}
	if len(out) == 0 {
		return err
	}
	const most = 300
	return fmt.Errorf("%w: %.*q", err, most, out)
}

// limitedBuffer takes maxPluginOutput bytes and then no more, so that a plugin that never stops to print fills no memory:
// its next write fails.
type limitedBuffer struct {
	buf  bytes.Buffer // not embedded: its ReadFrom knows no limit
	over bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.buf.Len()+len(p) > maxPluginOutput {
		b.over = true
		return 0, errors.New("too much output")
	}
	return b.buf.Write(p)
}

func (b *limitedBuffer) Bytes() []byte { return b.buf.Bytes() }
