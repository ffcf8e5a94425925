package network

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods/atomicfile"
)

// hostState is host.json in the run directory: the sysctls of the host that gantry has changed, and what they were.
type hostState struct {
	Version int               `json:"version"`
	Sysctls map[string]string `json:"sysctls"`
}

const hostStateVersion = 1

// enableForwarding lets the host route packets, which it does for all its interfaces or none. It stays on when pods are
// gone, as others may rely on it by then; host.json remembers what was before, and Reset sets it back.
func (h *Host) enableForwarding(v4, v6 bool) error {
	var change []setting
	if v4 {
		if now, err := readSysctl("ipv4/ip_forward"); err != nil {
			return err
		} else if now == "0" {
			change = append(change, setting{"ipv4/ip_forward", "1"})
		}
	}
	if v6 {
		if now, err := readSysctl("ipv6/conf/all/forwarding"); err != nil {
			return err
		} else if now == "0" {
			// A host that forwards no longer listens to router advertisements, unless told so with the value 2: it would lose
			// its own default route.
			routers, err := acceptingRouters()
			if err != nil {
				return err
			}
			change = append(append(change, routers...), setting{"ipv6/conf/all/forwarding", "1"})
		}
	}
	if len(change) == 0 {
		return nil
	}
	if err := h.remember(change); err != nil {
		return err
	}
	for _, s := range change {
		if err := writeSysctl(s.name, s.value); err != nil {
			return err
		}
	}
	return nil
}

// acceptingRouters gives the settings that keep interfaces listening to router advertisements.
func acceptingRouters() ([]setting, error) {
	dirs, err := os.ReadDir("/proc/sys/net/ipv6/conf")
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var change []setting
	for _, d := range dirs {
		name := "ipv6/conf/" + d.Name() + "/accept_ra"
		if now, err := readSysctl(name); err == nil && now == "1" && d.Name() != "all" && d.Name() != "default" && d.Name() != "lo" {
			change = append(change, setting{name, "2"})
		}
	}
	return change, nil
}

// remember adds to host.json what settings have now, before they change. What is there already is older and stays.
func (h *Host) remember(change []setting) error {
	unlock, err := h.lockState()
	if err != nil {
		return err
	}
	defer unlock()
	state, err := h.readState()
	if err != nil {
		return err
	}
	for _, s := range change {
		now, err := readSysctl(s.name)
		if err != nil {
			return err
		}
		if _, ok := state.Sysctls[s.name]; !ok {
			state.Sysctls[s.name] = now
		}
	}
	data, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(h.stateFile(), 0o600, append(data, '\n'), false)
}

func (h *Host) stateFile() string { return filepath.Join(h.runDir(), "host.json") }

func (h *Host) readState() (hostState, error) {
	state := hostState{Version: hostStateVersion, Sysctls: map[string]string{}}
	data, err := os.ReadFile(h.stateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return state, nil
	}
	if err != nil {
		return state, fmt.Errorf("read host state: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&state); err != nil {
		return state, fmt.Errorf("read %s: %w", h.stateFile(), err)
	}
	if state.Version != hostStateVersion {
		return state, fmt.Errorf("read %s: version %d is unknown", h.stateFile(), state.Version)
	}
	return state, nil
}

func (h *Host) lockState() (unlock func(), err error) {
	if err := os.MkdirAll(h.runDir(), 0o755); err != nil {
		return nil, fmt.Errorf("make run directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(h.runDir(), "host.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock host state: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock host state: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
