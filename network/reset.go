package network

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/network/rules"
)

// ErrInUse says that pods are attached to networks.
var ErrInUse = errors.New("pods are attached to networks")

// Reset takes back what gantry has done to the host for all pods together: the table of rules and, with sysctls, those that
// host.json remembers, unless somebody has changed them since. Nobody can tell whether another program came to rely on a host
// that forwards, so that part is only for who knows. It refuses with ErrInUse while a pod has a lease or a
// plugin's result, or is being attached: the next Attach makes all of it again. Idempotent.
func (h *Host) Reset(sysctls bool) error {
	release, err := h.ownHost()
	if err != nil {
		return fmt.Errorf("reset network: %w", err)
	}
	defer release()
	for _, dir := range []string{filepath.Join("leases", ".index", "*"), filepath.Join("cni", "results")} {
		used, err := filepath.Glob(filepath.Join(h.runDir(), dir, "*"))
		if err != nil {
			return err
		}
		if len(used) > 0 {
			return fmt.Errorf("reset network: %w", ErrInUse)
		}
	}
	if err := rules.Reset(); err != nil {
		return err
	}
	if !sysctls {
		return nil
	}
	unlock, err := h.lockState()
	if err != nil {
		return err
	}
	defer unlock()
	state, err := h.readState()
	if err != nil {
		return err
	}
	// In any order: neither sysctl changes the other.
	for _, name := range slices.Sorted(maps.Keys(state.Sysctls)) {
		if err := restore(name, state.Sysctls[name]); err != nil {
			return err
		}
	}
	if err := os.Remove(h.stateFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reset network: %w", err)
	}
	return nil
}

// Probe says whether this kernel has what the rules of the built-in networks need: it makes them in a namespace of its own.
func Probe() error {
	enter := func() error { return unix.Unshare(unix.CLONE_NEWNET) }
	return elsewhere(enter, func() error { _, err := rules.Ensure(1); return err })
}

// restore sets a sysctl back if it has the value that enableForwarding gives. An interface may be gone.
func restore(name, was string) error {
	ours := "1"
	if filepath.Base(name) == "accept_ra" {
		ours = "2"
	}
	now, err := readSysctl(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || now != ours {
		return err
	}
	return writeSysctl(name, was)
}
