package stats

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree writes files below a new directory, and returns it.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestReadApp(t *testing.T) {
	v2 := map[string]string{
		"pod/app/cpu.stat":       "usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n",
		"pod/app/memory.current": "8192\n", "pod/app/memory.max": "max\n", "pod/app/memory.stat": "anon 1\ninactive_file 4096\n",
		"pod/app/pids.current": "3\n", "pod/app/pids.max": "100\n",
		"pod/app/io.stat":      "259:0 rbytes=10 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n8:0 rbytes=1 wbytes=2 rios=1 wios=1 dbytes=0 dios=0\n",
		"pod/app/cpu.pressure": "some avg10=1.25 avg60=0.00 avg300=0.00 total=2000000\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=1000000\n",
	}
	v1 := map[string]string{
		"cpuacct/app/cpuacct.usage":        "1500000000\n",
		"memory/app/memory.usage_in_bytes": "8192\n", "memory/app/memory.limit_in_bytes": "9223372036854771712\n",
		"memory/app/memory.stat": "inactive_file 1\ntotal_inactive_file 4096\n",
		"pids/app/pids.current":  "3\n", "pids/app/pids.max": "100\n",
		"blkio/app/blkio.throttle.io_service_bytes_recursive": "259:0 Read 10\n259:0 Write 20\n259:0 Total 30\n8:0 Read 1\n8:0 Write 2\nTotal 33\n",
	}
	common := App{
		Name: "app", CPU: ptr(1.5), Memory: ptr[uint64](8192), WorkingSet: ptr[uint64](4096), PIDs: ptr[uint64](3), PIDsLimit: ptr[uint64](100),
		ReadBytes: ptr[uint64](11), WriteBytes: ptr[uint64](22),
	}
	pressured := common
	pressured.Pressure = []Stall{{Resource: "cpu", Some: 2, Full: 1, Some10: 1.25, Full10: 0.5}}
	for _, c := range []struct {
		name  string
		files map[string]string
		dirs  []string
		want  App
	}{
		{"cgroup v2", v2, []string{"pod", "supervisor"}, pressured},
		{"cgroup v1", v1, []string{"cpuacct", "memory", "pids", "blkio"}, common},
		{"nothing is told", nil, []string{"pod"}, App{Name: "app"}},
		{"nonsense", map[string]string{"pod/app/cpu.stat": "usage_usec x\n", "pod/app/memory.current": "\n", "pod/app/io.stat": "8:0 rbytes\n"}, []string{"pod"},
			App{Name: "app", ReadBytes: ptr[uint64](0), WriteBytes: ptr[uint64](0)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := tree(t, c.files)
			var dirs []string
			for _, d := range c.dirs {
				dirs = append(dirs, filepath.Join(root, d))
			}
			got := readApp(dirs, Process{App: "app", PID: 1, Start: 1})
			got.Started = c.want.Started
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParseNetDev(t *testing.T) {
	const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       5       5    0    0    0     0          0         0        5       5    0    0    0     0       0          0
  eth0:    1116      14    0    2    0     0          0         0      936      12    0    3    0     0       0          0
`
	want := []Interface{{Name: "eth0", ReceiveBytes: 1116, ReceivePackets: 14, ReceiveDropped: 2, TransmitBytes: 936, TransmitPackets: 12, TransmitDropped: 3}}
	if diff := cmp.Diff(want, parseNetDev(text)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A process that is not the one that was meant gives nothing.
func TestReadNetworksOfAnother(t *testing.T) {
	self := Process{PID: os.Getpid(), Start: startOf(os.Getpid())}
	if _, ok := readNetworks(self); !ok {
		t.Error("own interfaces cannot be read")
	}
	self.Start++
	if _, ok := readNetworks(self); ok {
		t.Error("a process that started at another time was taken for the one that was meant")
	}
}
