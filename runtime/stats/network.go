package stats

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// readNetworks reads the interfaces that the process sees: /proc/PID/net is of the process's network namespace, whoever reads it. Not
// ok: the process is gone, and what was read may be of another.
func readNetworks(p Process) ([]Interface, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", p.PID))
	if err != nil || startOf(p.PID) != p.Start {
		return nil, false
	}
	return parseNetDev(string(data)), true
}

// parseNetDev parses /proc/net/dev, without loopback:
//
//	Inter-|   Receive                                                |  Transmit
//	 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
//	  eth0:    1116      14    0    0    0     0          0         0      936      12    0    0    0     0       0          0
func parseNetDev(text string) []Interface {
	out := []Interface{}
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if name = strings.TrimSpace(name); !ok || len(fields) < 16 || name == "lo" {
			continue
		}
		n := func(i int) uint64 {
			v, _ := strconv.ParseUint(fields[i], 10, 64) // the kernel writes numbers
			return v
		}
		out = append(out, Interface{
			Name: name, ReceiveBytes: n(0), ReceivePackets: n(1), ReceiveDropped: n(3),
			TransmitBytes: n(8), TransmitPackets: n(9), TransmitDropped: n(11),
		})
	}
	return out
}

// startOf is field 22 of /proc/PID/stat, counted from the parenthesis that closes the second; 0: no such process.
func startOf(pid int) uint64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return 0
	}
	n, _ := strconv.ParseUint(fields[19], 10, 64)
	return n
}
