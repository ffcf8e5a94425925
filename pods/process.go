package pods

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ProcessStart is when pid started, in clock ticks since boot: field 22 of /proc/PID/stat. With the PID it names a process for the
// whole life of a boot; run.json has both.
func ProcessStart(pid int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStart(string(data))
}

// parseStart counts from the closing parenthesis of the second field, which may hold anything.
func parseStart(stat string) (uint64, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("read start time: unexpected line %q", stat)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// Process names a process for ever: a PID is given to others.
type Process struct {
	BootID    string `json:"bootID"`
	PID       int    `json:"pid"`
	StartTime uint64 `json:"startTime"` // as of ProcessStart
}

// Self is the calling process.
func Self() (*Process, error) {
	start, err := ProcessStart(os.Getpid())
	if err != nil {
		return nil, err
	}
	return &Process{BootID: BootID(), PID: os.Getpid(), StartTime: start}, nil
}

// Alive reports whether the process still does something: one that nobody has waited for yet does not.
func (p *Process) Alive() bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err != nil || p.BootID != BootID() {
		return false
	}
	start, err := parseStart(string(data))
	_, rest, _ := strings.Cut(string(data[strings.LastIndexByte(string(data), ')')+1:]), " ")
	return err == nil && start == p.StartTime && rest[0] != 'Z' && rest[0] != 'X'
}
