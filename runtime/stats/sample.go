package stats

import (
	"time"

	"github.com/gantryrun/gantry/pods"
)

// Pod is what a pod used until Time. Counters count from the start of the app's last run.
type Pod struct {
	UUID     string      `json:"uuid"`
	Name     string      `json:"name,omitempty"`
	Time     time.Time   `json:"time"`
	Apps     []App       `json:"apps"`
	Networks []Interface `json:"networks,omitempty"` // missing: the pod has the host's network
}

// App is what an app uses. What the kernel does not tell is nil.
type App struct {
	Name        string    `json:"name"`
	Started     time.Time `json:"started,omitzero"` // of the run that is measured
	CPU         *float64  `json:"cpuSeconds,omitempty"`
	Memory      *uint64   `json:"memoryBytes,omitempty"`     // with the page cache that it caused
	WorkingSet  *uint64   `json:"workingSetBytes,omitempty"` // without what the kernel can drop first (inactive file pages)
	MemoryLimit *uint64   `json:"memoryLimitBytes,omitempty"`
	PIDs        *uint64   `json:"pids,omitempty"`
	PIDsLimit   *uint64   `json:"pidsLimit,omitempty"`
	ReadBytes   *uint64   `json:"readBytes,omitempty"` // of disks
	WriteBytes  *uint64   `json:"writeBytes,omitempty"`
	// Lines that its log does not hold any more, or journald did not take, since the pod's start.
	DroppedLines uint64  `json:"droppedLines,omitempty"`
	Pressure     []Stall `json:"pressure,omitempty"` // cgroup v2 only
}

// Stall is time that the app's processes lost waiting for a resource (pressure stall information).
type Stall struct {
	Resource string  `json:"resource"` // "cpu", "memory" or "io"
	Some     float64 `json:"someSeconds"`
	Full     float64 `json:"fullSeconds"`
	Some10   float64 `json:"someAvg10"` // percent of the last 10 seconds
	Full10   float64 `json:"fullAvg10"`
}

// Interface is the traffic of one interface of the pod, as the pod sees it.
type Interface struct {
	Name            string `json:"name"`
	ReceiveBytes    uint64 `json:"receiveBytes"`
	ReceivePackets  uint64 `json:"receivePackets"`
	ReceiveDropped  uint64 `json:"receiveDropped"`
	TransmitBytes   uint64 `json:"transmitBytes"`
	TransmitPackets uint64 `json:"transmitPackets"`
	TransmitDropped uint64 `json:"transmitDropped"`
}

// Process is a process of an app, and how to know it again: field 22 of /proc/PID/stat.
type Process struct {
	App   string
	PID   int
	Start uint64
}

// Read takes a sample of a running pod. running are the processes of the apps that run; one of an app that ends meanwhile makes no
// error.
func Read(m *pods.Manifest, run *pods.Run, running []Process) *Pod {
	p := &Pod{UUID: m.UUID, Name: m.Name, Time: time.Now(), Apps: []App{}}
	for _, r := range running {
		p.Apps = append(p.Apps, readApp(run.Cgroups, r))
	}
	if m.Net == pods.NetHost {
		return p
	}
	for _, r := range running { // they share the namespace: any will do
		if nets, ok := readNetworks(r); ok {
			p.Networks = nets
			break
		}
	}
	return p
}
