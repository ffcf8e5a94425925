package stats

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cgroup is the cgroup of an app: one directory on a v2 host, one per controller elsewhere.
type cgroup []string

// read returns the content of the first file of these names that there is.
func (c cgroup) read(names ...string) (string, bool) {
	for _, name := range names {
		for _, dir := range c {
			if data, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
				return string(data), true
			}
		}
	}
	return "", false
}

// number reads a file of one number. "max", and what v1 writes for no limit, is nil.
func (c cgroup) number(names ...string) *uint64 {
	text, ok := c.read(names...)
	if !ok {
		return nil
	}
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil || n >= noLimit {
		return nil
	}
	return &n
}

// noLimit is where v1's "no limit" begins: the largest signed number, rounded down to pages of any size.
const noLimit = math.MaxInt64 &^ (1<<20 - 1)

// field reads the value after key in a file of "key value" lines.
func (c cgroup) field(key string, names ...string) (uint64, bool) {
	text, _ := c.read(names...)
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			n, err := strconv.ParseUint(v, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

func readApp(dirs []string, p Process) App {
	var c cgroup
	for _, dir := range dirs {
		c = append(c, filepath.Join(dir, p.App))
	}
	a := App{
		Name:        p.App,
		Started:     startedAt(p),
		CPU:         c.cpu(),
		Memory:      c.number("memory.current", "memory.usage_in_bytes"),
		MemoryLimit: c.number("memory.max", "memory.limit_in_bytes"),
		PIDs:        c.number("pids.current"),
		PIDsLimit:   c.number("pids.max"),
		Pressure:    c.pressure(),
	}
	if a.Memory != nil {
		a.WorkingSet = c.workingSet(*a.Memory)
	}
	a.ReadBytes, a.WriteBytes = c.io()
	return a
}

// cpu is in seconds: cgroup v2 counts microseconds, v1 nanoseconds.
func (c cgroup) cpu() *float64 {
	if usec, ok := c.field("usage_usec", "cpu.stat"); ok {
		return ptr(float64(usec) / 1e6)
	}
	if nsec := c.number("cpuacct.usage"); nsec != nil {
		return ptr(float64(*nsec) / 1e9)
	}
	return nil
}

func (c cgroup) workingSet(usage uint64) *uint64 {
	cache, ok := c.field("total_inactive_file", "memory.stat") // v1, with the cgroups below
	if !ok {
		if cache, ok = c.field("inactive_file", "memory.stat"); !ok {
			return nil
		}
	}
	return ptr(usage - min(usage, cache))
}

// io adds up all disks. v2 has a line per disk, v1 one per disk and operation:
//
//	259:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0
//	259:0 Read 4096
func (c cgroup) io() (read, write *uint64) {
	text, ok := c.read("io.stat", "blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes")
	if !ok {
		return nil, nil
	}
	var r, w uint64
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		for i, f := range fields {
			key, value, _ := strings.Cut(f, "=")
			if i == 1 && len(fields) == 3 {
				key, value = f, fields[2]
			}
			n, _ := strconv.ParseUint(value, 10, 64) // no number: not one of ours
			switch key {
			case "rbytes", "Read":
				r += n
			case "wbytes", "Write":
				w += n
			}
		}
	}
	return &r, &w
}

// pressure parses the three files of pressure stall information:
//
//	some avg10=0.00 avg60=0.00 avg300=0.00 total=1234
//	full avg10=0.00 avg60=0.00 avg300=0.00 total=1234
func (c cgroup) pressure() []Stall {
	var out []Stall
	for _, resource := range []string{"cpu", "memory", "io"} {
		text, ok := c.read(resource + ".pressure")
		if !ok {
			continue
		}
		s := Stall{Resource: resource}
		for line := range strings.Lines(text) {
			fields := strings.Fields(line)
			if len(fields) == 0 {
				continue
			}
			avg10, total := stallOf(fields[1:])
			switch fields[0] {
			case "some":
				s.Some10, s.Some = avg10, total
			case "full":
				s.Full10, s.Full = avg10, total
			}
		}
		out = append(out, s)
	}
	return out
}

func stallOf(fields []string) (avg10, seconds float64) {
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		n, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil:
		case key == "avg10":
			avg10 = n
		case key == "total":
			seconds = n / 1e6
		}
	}
	return avg10, seconds
}

// clockTick is USER_HZ, in which /proc counts for programs: 100 on every architecture that Go and gantry know.
const clockTick = time.Second / 100

// startedAt is when the process started, by the wall clock.
func startedAt(p Process) time.Time {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}
	}
	for line := range strings.Lines(string(data)) {
		if s, ok := strings.CutPrefix(line, "btime "); ok {
			if boot, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64); err == nil {
				return time.Unix(boot, 0).Add(time.Duration(p.Start) * clockTick).UTC()
			}
		}
	}
	return time.Time{}
}

func ptr[T any](v T) *T { return &v }
