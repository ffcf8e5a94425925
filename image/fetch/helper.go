package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image"
)

// errNoCredentials: a helper says that it has none for a registry.
var errNoCredentials = errors.New("no credentials")

// Bounds of a credential helper. It may have to ask a cloud, or a person's keyring.
const (
	helperTime   = 30 * time.Second
	helperOutput = 64 << 10
)

// askHelper runs docker-credential-NAME as docker does: verb get, the server's name on stdin, JSON on stdout. It learns
// which registry is asked and nothing else, and what it says never becomes part of an error.
func askHelper(ctx context.Context, name string, e endpoint) (config authn.AuthConfig, err error) {
	defer func() {
		if err != nil && !errors.Is(err, errNoCredentials) {
			err = fmt.Errorf("%w: credential helper %q for %s: %w", image.ErrConfig, name, e.host, err)
		}
	}()
	if name == "" || strings.Trim(name, helperName) != "" {
		return config, errors.New("a name of letters, digits, dots, dashes and underscores expected")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, helperTime, fmt.Errorf("no answer for %s", helperTime))
	defer cancel()
	out := &boundedBuffer{left: helperOutput, over: cancel}
	cmd := exec.CommandContext(ctx, "docker-credential-"+name, "get")
	cmd.Stdin, cmd.Stdout = strings.NewReader(serverOf(e)), out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // scripts have children
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second // for a child that left the group and keeps stdout open
	err = cmd.Run()
	switch {
	case out.left < 0:
		return config, fmt.Errorf("says more than %d bytes", helperOutput)
	case ctx.Err() != nil:
		return config, context.Cause(ctx)
	case err != nil && strings.Contains(out.kept.String(), "credentials not found"):
		return config, errNoCredentials // what docker's own helpers say, and docker looks for
	case err != nil:
		return config, err
	}
	var said struct{ Username, Secret string }
	if json.Unmarshal(out.kept.Bytes(), &said) != nil || said.Secret == "" {
		return config, errors.New("its answer is not {\"Username\": …, \"Secret\": …}")
	}
	if said.Username == "<token>" { // an identity token, to be exchanged for others
		return authn.AuthConfig{IdentityToken: said.Secret}, nil
	}
	return authn.AuthConfig{Username: said.Username, Password: said.Secret}, nil
}

// helperName has the characters of a helper's name: none that could lead out of PATH.
const helperName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

// serverOf is what helpers, and docker's files, call the registry.
func serverOf(e endpoint) string {
	if e.host == "docker.io" {
		return dockerHubKey
	}
	return e.host
}

// boundedBuffer keeps so many bytes; with the first beyond, it calls over.
type boundedBuffer struct {
	kept bytes.Buffer // not embedded: its ReadFrom would pass our Write by
	left int
	over func()
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		b.over()
		return 0, errors.New("too much")
	}
	return b.kept.Write(p)
}
