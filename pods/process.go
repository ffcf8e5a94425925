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
