package runtime

import (
	"errors"
	"io"
	"slices"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime/openmetrics"
	"github.com/gantryrun/gantry/runtime/stats"
)

// metrics are the families of the text that WriteMetrics writes, in its order.
type metrics struct {
	pods, pod, podStarted, podReady, podExit, received, transmitted, receiveDropped, transmitDropped openmetrics.Family
	app, appUp, restarts, appExit, oomKilled, dropped, droppedJournal                                openmetrics.Family
	cpu, memory, workingSet, memoryLimit, pids, pidsLimit, read, written, waiting, stalled           openmetrics.Family
}

func newMetrics() *metrics {
	const gauge, counter, info = openmetrics.Gauge, openmetrics.Counter, openmetrics.Info
	family := func(name, kind, unit, help string) openmetrics.Family {
		return openmetrics.Family{Name: "gantry_" + name, Type: kind, Unit: unit, Help: help}
	}
	return &metrics{
		pods:            family("pods", gauge, "", "Number of pods by state."),
		pod:             family("pod", info, "", "What a pod is."),
		podStarted:      family("pod_start_time_seconds", gauge, "seconds", "When the pod was started, since the epoch."),
		podReady:        family("pod_ready", gauge, "", "1 once every app of the running pod is ready."),
		podExit:         family("pod_exit_code", gauge, "", "What a pod that is over ended with."),
		received:        family("pod_network_receive_bytes", counter, "bytes", "Bytes that the pod received."),
		transmitted:     family("pod_network_transmit_bytes", counter, "bytes", "Bytes that the pod sent."),
		receiveDropped:  family("pod_network_receive_dropped", counter, "", "Packets to the pod that were dropped."),
		transmitDropped: family("pod_network_transmit_dropped", counter, "", "Packets from the pod that were dropped."),
		app:             family("app", info, "", "What an app is."),
		appUp:           family("app_running", gauge, "", "1 while the app runs."),
		restarts:        family("app_restarts", counter, "", "How often the app was started again in its pod."),
		appExit:         family("app_exit_code", gauge, "", "What the app's last finished run ended with; 128+N for signal N."),
		oomKilled:       family("app_oom_killed", gauge, "", "1 if the app's last finished run ran out of memory."),
		dropped:         family("app_log_dropped_lines", counter, "", "Lines that are in the app's log no more, because newer ones took their place, or never were."),
		droppedJournal:  family("app_journal_dropped_lines", counter, "", "Lines of the app that journald did not take in time."),
		cpu:             family("app_cpu_seconds", counter, "seconds", "CPU time of the app's run."),
		memory:          family("app_memory_bytes", gauge, "bytes", "Memory of the app, with its page cache."),
		workingSet:      family("app_memory_working_set_bytes", gauge, "bytes", "Memory of the app that the kernel cannot drop at once."),
		memoryLimit:     family("app_memory_limit_bytes", gauge, "bytes", "Limit of the app's memory, where it has one."),
		pids:            family("app_pids", gauge, "", "Processes and threads of the app."),
		pidsLimit:       family("app_pids_limit", gauge, "", "Limit of the app's processes and threads, where it has one."),
		read:            family("app_io_read_bytes", counter, "bytes", "Bytes that the app read from disks."),
		written:         family("app_io_write_bytes", counter, "bytes", "Bytes that the app wrote to disks."),
		waiting:         family("app_pressure_waiting_seconds", counter, "seconds", "Time that some of the app's tasks waited for a resource (cgroup v2)."),
		stalled:         family("app_pressure_stalled_seconds", counter, "seconds", "Time that all of the app's tasks waited for a resource (cgroup v2)."),
	}
}

func (m *metrics) families() []*openmetrics.Family {
	return []*openmetrics.Family{
		&m.pods, &m.pod, &m.podStarted, &m.podReady, &m.podExit, &m.received, &m.transmitted, &m.receiveDropped, &m.transmitDropped,
		&m.app, &m.appUp, &m.restarts, &m.appExit, &m.oomKilled, &m.dropped, &m.droppedJournal,
		&m.cpu, &m.memory, &m.workingSet, &m.memoryLimit, &m.pids, &m.pidsLimit, &m.read, &m.written, &m.waiting, &m.stalled,
	}
}

// WriteMetrics writes the state of every pod as OpenMetrics text. A pod that cannot be read is counted in gantry_pods, and
// missing elsewhere; the error says why, and the text is whole all the same.
func WriteMetrics(w io.Writer, store *pods.Store) error {
	uuids, err := store.UUIDs()
	if err != nil {
		return err
	}
	slices.Sort(uuids)
	m := newMetrics()
	counts := map[pods.State]int{}
	var errs []error
	for _, uuid := range uuids {
		if err := m.addPod(store, uuid, counts); err != nil && !errors.Is(err, pods.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	for _, s := range pods.States() {
		m.pods.Add(float64(counts[s]), "state", string(s))
	}
	return errors.Join(append(errs, openmetrics.Write(w, m.families()))...)
}

func (m *metrics) addPod(store *pods.Store, uuid string, counts map[pods.State]int) error {
	pod, err := store.Open(uuid)
	if err != nil {
		return err
	}
	defer pod.Close()
	state, err := pod.State()
	if err != nil {
		return err
	}
	counts[state]++
	s, err := ReadStatus(store, pod)
	if err != nil {
		return err
	}
	m.pod.Add(1, "pod", uuid, "name", s.Name, "state", string(state))
	if !s.Started.IsZero() {
		m.podStarted.Add(float64(s.Started.UnixMilli())/1e3, "pod", uuid)
	}
	if s.Code != nil {
		m.podExit.Add(float64(*s.Code), "pod", uuid)
	}
	for i := range s.Status {
		m.addApp(uuid, &s.Status[i])
	}
	if state != pods.Running {
		return nil
	}
	m.podReady.Add(number(s.Ready), "pod", uuid)
	sample, err := ReadStats(pod)
	if errors.Is(err, ErrState) {
		return nil // it ended meanwhile
	}
	if err != nil {
		return err
	}
	m.addUse(sample)
	return nil
}

func (m *metrics) addApp(uuid string, a *AppStatus) {
	m.app.Add(1, "pod", uuid, "app", a.Name, "image", a.Image.Name, "image_id", a.Image.ID)
	m.appUp.Add(number(a.State == AppRunning), "pod", uuid, "app", a.Name)
	m.restarts.Add(float64(a.Restarts()), "pod", uuid, "app", a.Name)
	if a.Last != nil {
		m.appExit.Add(float64(a.Last.Code), "pod", uuid, "app", a.Name)
		m.oomKilled.Add(number(a.Last.OOMKilled), "pod", uuid, "app", a.Name)
	}
	if a.Dropped != nil {
		m.dropped.Add(float64(a.Dropped.Lines), "pod", uuid, "app", a.Name)
		m.droppedJournal.Add(float64(a.Dropped.Journal), "pod", uuid, "app", a.Name)
	}
}

func (m *metrics) addUse(p *stats.Pod) {
	for _, n := range p.Networks {
		labels := []string{"pod", p.UUID, "interface", n.Name}
		m.received.Add(float64(n.ReceiveBytes), labels...)
		m.transmitted.Add(float64(n.TransmitBytes), labels...)
		m.receiveDropped.Add(float64(n.ReceiveDropped), labels...)
		m.transmitDropped.Add(float64(n.TransmitDropped), labels...)
	}
	for _, a := range p.Apps {
		labels := []string{"pod", p.UUID, "app", a.Name}
		if a.CPU != nil {
			m.cpu.Add(*a.CPU, labels...)
		}
		for _, v := range []struct {
			family *openmetrics.Family
			value  *uint64
		}{
			{&m.memory, a.Memory}, {&m.workingSet, a.WorkingSet}, {&m.memoryLimit, a.MemoryLimit}, {&m.pids, a.PIDs},
			{&m.pidsLimit, a.PIDsLimit}, {&m.read, a.ReadBytes}, {&m.written, a.WriteBytes},
		} {
			if v.value != nil {
				v.family.Add(float64(*v.value), labels...)
			}
		}
		for _, s := range a.Pressure {
			resource := slices.Concat(labels, []string{"resource", s.Resource})
			m.waiting.Add(s.Some, resource...)
			m.stalled.Add(s.Full, resource...)
		}
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
