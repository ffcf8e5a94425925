package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// Prepared is a pod that is complete on disk, with its life in our hands.
type Prepared struct {
	UUID string
	pod  *pods.Pod
	path string
	lock *pods.Lock
	// shared are the host volumes from which mounts propagate.
	shared []pods.Volume
	ahead  *ahead // nil: not started
}

// newPrepared is the pod that m describes.
func newPrepared(pod *pods.Pod, m *pods.Manifest, path string, lock *pods.Lock) *Prepared {
	p := &Prepared{UUID: pod.UUID, pod: pod, path: path, lock: lock}
	for _, v := range m.Volumes {
		if v.Propagation == pods.PropagationShared {
			p.shared = append(p.shared, v)
		}
	}
	return p
}

// Release leaves the pod prepared, for who runs it later.
func (p *Prepared) Release() error {
	p.ahead.drop()
	return errors.Join(p.lock.Release(), p.pod.Close())
}

// Drop removes a pod that was prepared and could not be handed to stage1.
func (r *Runtime) Drop(p *Prepared) error {
	gc, err := p.pod.LockGC()
	if err != nil {
		return errors.Join(err, p.Release())
	}
	return errors.Join(r.Pods().Remove(p.pod), gc.Release(), p.Release())
}

// Prepare makes the pod that req describes. On error nothing of it is left. The caller hands the result to Exec or Start, or
// releases it.
func (r *Runtime) Prepare(ctx context.Context, req *Request) (p *Prepared, err error) {
	req.Stage1 = cmp.Or(req.Stage1, r.Stage1, pods.Stage1Default)
	if err := req.complete(); err != nil {
		return nil, requestError{err}
	}
	nets, err := r.freeze(req, false)
	if err != nil {
		return nil, err
	}
	images, release, err := r.holdImages(ctx, req)
	if err != nil {
		return nil, err
	}
	defer release() // by then pod.json names the images, and gc sees them there
	var started *ahead
	if req.Becomes {
		started = r.startAhead()
	}
	defer func() {
		if err != nil {
			started.drop()
		}
	}()
	if err := r.adoptAppc(req, images); err != nil {
		return nil, err
	}
	for _, v := range req.unusedVolumes() {
		r.warn("volume %s is mounted nowhere: say --mount volume=%s,target=PATH", v, v)
	}
	late, err := r.freeze(req, true)
	if err != nil {
		return nil, err
	}
	nets = append(nets, late...)
	draft, err := r.Pods().Draft(req.UUID)
	if err != nil {
		return nil, fmt.Errorf("make pod directory: %w", err)
	}
	err = r.copyRoots(ctx, draft, req, images)
	var m *pods.Manifest
	var lock *pods.Lock
	if err == nil {
		m, lock, err = r.write(draft, req, images, nets)
	}
	if err != nil {
		return nil, errors.Join(err, draft.Discard())
	}
	p = newPrepared(draft.Pod, m, draft.Path(), lock)
	p.ahead = started
	return p, nil
}

// write writes everything into the draft, pod.json last.
func (r *Runtime) write(draft *pods.Draft, req *Request, images []*usedImage, nets []conf.Network) (*pods.Manifest, *pods.Lock, error) {
	m := req.manifest()
	if req.Handed {
		self, err := pods.Self()
		if err != nil {
			return nil, nil, err
		}
		m.Starter = self
	}
	for file, conflist := range r.nameNetworks(m, nets) {
		if err := draft.WriteFile(file, conflist); err != nil {
			return nil, nil, err
		}
	}
	pod := req.pod(draft.Path())
	for _, v := range req.Volumes {
		m.Volumes = append(m.Volumes, volumeManifest(v, ""))
	}
	for i := range req.Apps {
		volumes, err := r.writeApp(draft, req, pod, i, images[i])
		if err != nil {
			return nil, nil, fmt.Errorf("app %s: %w", req.Apps[i].Name, err)
		}
		for _, v := range volumes {
			m.Volumes = append(m.Volumes, volumeManifest(v, req.Apps[i].Name))
		}
	}
	if err := makeVolumes(draft, req.Volumes, imageRoot{}); err != nil {
		return nil, nil, err
	}
	lock, err := draft.Commit(m, req.Durable)
	return m, lock, err
}

// volumeManifest is a volume of the pod, or one that the image of app declares.
func volumeManifest(v bundle.Volume, app string) pods.Volume {
	return pods.Volume{
		Name: v.Name, Kind: v.Kind, Source: v.Source, ReadOnly: v.ReadOnly, Mode: v.Mode, UID: v.UID, GID: v.GID, From: v.From, App: app,
		Shared: v.Shared, Size: v.Size, Propagation: v.Propagation,
	}
}

func (r *Runtime) writeApp(draft *pods.Draft, req *Request, pod bundle.Pod, order int, img *usedImage) ([]bundle.Volume, error) {
	a := &req.Apps[order]
	root := imageRoot{img.lower}
	accounts, err := root.accounts()
	if err != nil {
		return nil, err
	}
	user, group := bundle.User(img.Config, a.App)
	id, err := bundle.Resolve(user, group, a.SupplementaryGIDs, accounts)
	if err != nil {
		return nil, requestError{err}
	}
	if a.Devices, err = findDevices(a.Devices); err != nil {
		return nil, requestError{err}
	}
	r.warnImage(a, img)
	in := bundle.Input{Pod: pod, App: a.App, Image: img.Config, Identity: id}
	built, err := bundle.Build(in)
	if err == nil {
		err = checkStrings(built.Spec.Process)
	}
	if err != nil {
		return nil, requestError{err}
	}
	manifest, err := appManifest(a, order, img)
	if err != nil {
		return nil, err
	}
	manifest.Exec = built.Spec.Process.Args
	if a.Ready == pods.ReadyNotify || a.Watchdog {
		env := slices.DeleteFunc(built.Spec.Process.Env, func(kv string) bool { return strings.HasPrefix(kv, "NOTIFY_SOCKET=") })
		env = append(env, "NOTIFY_SOCKET="+pods.NotifySocket)
		built.Spec.Process.Env = env
	}
	if a.Stdin == pods.StreamTTY {
		giveTerminal(built.Spec.Process)
	}
	if err := r.addHooks(draft, manifest, a, in, built); err != nil {
		return nil, err
	}
	if manifest.Seccomp, err = r.addSeccomp(built); err != nil {
		return nil, err
	}
	config, err := built.Encode()
	if err != nil {
		return nil, err
	}
	if err := draft.WriteFile(pods.AppPath(a.Name, pods.ConfigFile), config); err != nil {
		return nil, err
	}
	if err := makeVolumes(draft, built.Volumes, root); err != nil {
		return nil, err
	}
	if a.added {
		manifest.Added, manifest.Order, manifest.Volumes = true, a.order, a.volumes
		for _, v := range built.Volumes {
			manifest.Volumes = append(manifest.Volumes, volumeManifest(v, a.Name))
		}
	}
	return built.Volumes, draft.AddApp(manifest)
}

// giveTerminal has the process started on a terminal of its own. TERM is what every emulator understands, where nobody said another.
func giveTerminal(p *specs.Process) {
	p.Terminal = true
	if !slices.ContainsFunc(p.Env, func(kv string) bool { return strings.HasPrefix(kv, "TERM=") }) {
		p.Env = append(p.Env, "TERM=xterm")
	}
}

func appManifest(a *AppRequest, order int, img *usedImage) (*pods.App, error) {
	signal, err := bundle.StopSignal(a.StopSignal, img.Config.Config.StopSignal)
	if err != nil {
		return nil, err
	}
	return &pods.App{
		Name: a.Name, Order: order,
		Image:  pods.Image{Name: img.name, ID: img.ID.String(), ChainID: img.ChainID.String()},
		Rootfs: pods.Rootfs{Lower: img.lower, ReadOnly: a.ReadOnlyRootfs, Copied: img.copied},
		Stdin:  a.Stdin, Stdout: a.Stdout, Stderr: a.Stderr,
		StopSignal: signal, StopTimeout: a.StopTimeout,
		Restart: a.Restart, Ready: a.Ready, Watchdog: a.Watchdog, Essential: a.Essential, After: a.After, Sockets: sockets(a, img.Config.Config.Labels), Labels: a.Labels, Annotations: a.Annotations,
	}, nil
}

// manifest is the pod's part of the request.
func (req *Request) manifest() *pods.Manifest {
	m := &pods.Manifest{
		Name: req.Name, Hostname: req.Hostname, Created: time.Now(), Stage1: req.Stage1,
		Net: pods.NetCNI, DNS: req.DNS, Hosts: req.Hosts, HostsFile: req.HostsFile, IPC: "private", PID: cmp.Or(req.PID, pods.PIDPod),
		Labels: req.Labels, Annotations: req.Annotations, Remove: req.Remove, Sandbox: req.Sandbox, Register: req.Register, NoOverlay: req.NoOverlay, Run: req.Run,
	}
	switch req.Net.Mode {
	case conf.None:
		m.Net = pods.NetNone
	case conf.HostNet:
		m.Net = pods.NetHost
	}
	if req.HostIPC {
		m.IPC = "host"
	}
	if req.Users {
		m.Users = pods.UsersPrivate
	}
	for _, p := range req.Ports {
		port := pods.Port{Name: p.Name, Protocol: p.Protocol, HostPort: int(p.HostPort), PodPort: int(p.ContainerPort)}
		if p.HostIP.IsValid() {
			port.HostIP = p.HostIP.String()
		}
		m.Ports = append(m.Ports, port)
	}
	return m
}

func (req *Request) pod(path string) bundle.Pod {
	return bundle.Pod{
		UUID: req.UUID, Path: path,
		HostNet: req.Net.Mode == conf.HostNet, HostPID: req.PID == pods.PIDHost, HostIPC: req.HostIPC, Users: req.Users, Chroot: req.Stage1 == pods.Stage1Chroot,
		Env: req.Env, Volumes: req.Volumes, Mounts: req.Mounts, Insecure: req.Insecure,
	}
}

// WriteUUIDFile writes uuid where --uuid-file-save wants it, before the pod is there: whoever finds a failed start's
// file can clean up after it.
func WriteUUIDFile(path, uuid string) error {
	if err := os.WriteFile(path, []byte(uuid), 0o644); err != nil { // as rkt and podman: nothing but the UUID
		return fmt.Errorf("save UUID: %w", err)
	}
	return nil
}

// ReadUUIDFile reads what WriteUUIDFile wrote.
func ReadUUIDFile(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read UUID: %w", err)
	}
	uuid := strings.TrimSpace(string(data))
	if len(uuid) != 36 {
		return "", fmt.Errorf("read UUID: %s holds %q, which is none", path, uuid)
	}
	return uuid, nil
}
