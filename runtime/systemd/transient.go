package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// ErrUnavailable says that systemd did not take the unit: there is none, or it does not answer. Nothing of the unit runs.
var ErrUnavailable = errors.New("systemd does not answer")

// ErrRefused says that systemd did not want the unit as it was asked for.
var ErrRefused = errors.New("systemd refused the unit")

// Patience is how long systemd may take to start the unit's process.
const Patience = 4 * time.Second

// Booted says whether this host runs systemd, as sd_booted(3) does.
func Booted() bool {
	info, err := os.Stat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// Transient is a service that lives as long as its process.
type Transient struct {
	Name        string // with .service
	Description string
	Slice       string
	Properties  []string // NAME=VALUE, as systemd.service(5) and the pages that it names have them
	Command     []string
	// Taken says whether the unit's process has begun its work: then it is systemd's no more to lose.
	Taken func() bool
}

// Stop stops the service, if there is one by now, or a job to start it. A systemd that does not answer is not waited for longer than Patience.
func (t *Transient) Stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	_ = exec.CommandContext(ctx, "systemctl", "--quiet", "stop", t.Name).Run() // that there is no such unit is no news
}

// service is how a pod's service has to be: docs/systemd.md says why.
var service = []string{"Type=notify", "Delegate=yes", "KillMode=mixed", "SuccessExitStatus=143", "OOMPolicy=continue"}

// Start starts the service and returns when it is ready. An error other than ErrUnavailable and ErrRefused says that the service did not
// become ready.
//
// It asks by way of systemd-run, which knows the types of all properties of its own systemd, and reaches it without the
// bus when that is down.
func (t *Transient) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	args := []string{"--quiet", "--collect", "--unit=" + t.Name, "--description=" + t.Description}
	if t.Slice != "" {
		args = append(args, "--slice="+t.Slice)
	}
	for _, p := range append(service, t.Properties...) {
		args = append(args, "--property="+p)
	}
	cmd := exec.CommandContext(ctx, "systemd-run", append(append(args, "--"), t.Command...)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	timer := time.AfterFunc(Patience, func() {
		if !t.Taken() {
			cancel()
		}
	})
	defer timer.Stop()
	err := cmd.Wait()
	why := strings.TrimSpace(said.String())
	switch {
	case err == nil:
		return nil
	case t.Taken():
		return fmt.Errorf("unit %s did not become ready", t.Name)
	case ctx.Err() != nil:
		return fmt.Errorf("%w within %v", ErrUnavailable, Patience)
	case strings.Contains(why, "Failed to connect") || strings.Contains(why, "timed out"):
		return fmt.Errorf("%w: %s", ErrUnavailable, why)
	}
	return fmt.Errorf("%w: %s", ErrRefused, why)
}
