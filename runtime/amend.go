package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// AddApp adds the one app of req to a running pod, which does not start it, and returns its name. The pod's volumes are there to be mounted.
func (r *Runtime) AddApp(ctx context.Context, pod *pods.Pod, req *Request) (string, error) {
	state, err := pod.State()
	if err != nil {
		return "", err
	}
	if state != pods.Running { // looked at again by who is asked to take it; here so that nothing is fetched for a pod that is over
		return "", stateErrorf("pod %s is %s, not running", pod.UUID, state)
	}
	m, err := pod.Manifest()
	if err != nil {
		return "", err
	}
	if m.Stage1 != pods.Stage1Default {
		return "", requestErrorf("a pod of the flavour %s has one app", m.Stage1)
	}
	req.Stage1 = m.Stage1
	req.Volumes = uniqueBinds(req.Volumes)
	own := len(req.Volumes)
	if own > 0 && m.Users != "" {
		return "", requestErrorf("a pod with users of its own takes no new volumes: define them when it is made")
	}
	req.of(m)
	if err := req.completeAdded(); err != nil {
		return "", requestError{err}
	}
	images, release, err := r.holdImages(ctx, req)
	if err != nil {
		return "", err
	}
	defer release() // by then app.json names the image
	if err := r.adoptAppc(req, images); err != nil {
		return "", err
	}
	lock, err := lockApps(ctx, pod)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Release() }()
	if err := r.writeAdded(ctx, pod, req, images[0], own); err != nil {
		return "", err
	}
	name := req.Apps[0].Name
	err = r.showImage(pod, images[0].lower)
	if err == nil {
		err = r.control(ctx, pod, &pods.ControlRequest{Verb: pods.ControlAdd, App: name})
	}
	if err != nil {
		err = errors.Join(err, r.takeBack(ctx, pod, name))
	}
	return name, err
}

// takeBack removes an app that could not be added, or of which nobody waited to hear. The supervisor may have it all the same: it is asked
// first, and where it is gone only files are left.
func (r *Runtime) takeBack(ctx context.Context, pod *pods.Pod, app string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepTime)
	defer cancel()
	if r.control(ctx, pod, &pods.ControlRequest{Verb: pods.ControlRemove, App: app}) == nil {
		return r.Pods().Amend(pod).SweepApps()
	}
	return pods.RemoveTree(filepath.Join(r.Pods().PodPath(pod.UUID), pods.AppPath(app, "")))
}

// lockApps keeps others from adding apps to the pod, and from removing them.
func lockApps(ctx context.Context, pod *pods.Pod) (*pods.Lock, error) {
	lock, err := awaitGC(ctx, pod)
	if err != nil {
		return nil, busy(pod, err, "somebody else is changing or removing it")
	}
	return lock, nil
}

// of makes the request that of an app for the pod of m.
func (req *Request) of(m *pods.Manifest) {
	req.UUID, req.Hostname, req.HostIPC, req.PID, req.Users, req.NoOverlay = m.UUID, m.Hostname, m.IPC == "host", m.PID, m.Users != "", m.NoOverlay
	if m.Net == pods.NetHost {
		req.Net.Mode = conf.HostNet
	}
	for _, v := range m.Volumes {
		req.Volumes = append(req.Volumes, bundle.Volume{
			Name: v.Name, Kind: v.Kind, Source: v.Source, ReadOnly: v.ReadOnly, Mode: v.Mode, UID: v.UID, GID: v.GID, From: v.From, Shared: v.Shared, Size: v.Size, Propagation: v.Propagation,
		})
	}
}

func (req *Request) completeAdded() error {
	req.Apps[0].added = true
	return errors.Join(req.completeApps(), req.checkUsers(), req.checkVolumes())
}

// writeAdded writes the app's files into the pod. On error, or where somebody kills us, what is there is no app, and the next change of
// the pod or its removal takes it. own are the volumes, the first of the request's, that came with it.
func (r *Runtime) writeAdded(ctx context.Context, pod *pods.Pod, req *Request, img *usedImage, own int) error {
	draft := r.Pods().Amend(pod)
	if err := draft.SweepApps(); err != nil {
		return err
	}
	apps, err := pod.Apps()
	if err != nil {
		return err
	}
	a, order := &req.Apps[0], 0
	for _, b := range apps {
		if b.Name == a.Name {
			return requestErrorf("pod %s has an app %q already: say --name=NAME after the image", pod.UUID, a.Name)
		}
		order = max(order, b.Order+1)
	}
	for _, name := range a.After {
		if !slices.ContainsFunc(apps, func(b *pods.App) bool { return b.Name == name }) {
			return requestErrorf("app %s: --after=%s: the pod has no other app of that name", a.Name, name)
		}
	}
	volumes := slices.Clone(req.Volumes[:own])
	if err := makeVolumes(draft, volumes, imageRoot{}); err != nil {
		return err
	}
	for _, v := range volumes {
		a.volumes = append(a.volumes, volumeManifest(v, ""))
	}
	if err := r.copyRoots(ctx, draft, req, []*usedImage{img}); err != nil {
		return err
	}
	a.added, a.order = true, order
	if _, err := r.writeApp(draft, req, req.pod(draft.Path()), 0, img); err != nil {
		return fmt.Errorf("app %s: %w", a.Name, err)
	}
	return nil
}

// showImage makes an image's tree visible to the pod's supervisor, whose mounts follow the host's only where those are shared.
func (r *Runtime) showImage(pod *pods.Pod, lower []string) error {
	run, err := pod.Run()
	if err != nil {
		return err
	}
	p, err := openProcess(run.PID, run.StartTime)
	if err != nil {
		return err
	}
	defer p.close()
	for _, dir := range lower {
		var here, there unix.Stat_t
		if err := unix.Stat(dir, &here); err != nil {
			return &os.PathError{Op: "stat", Path: dir, Err: err}
		}
		if unix.Stat(fmt.Sprintf("/proc/%d/root%s", run.PID, dir), &there) == nil && here.Dev == there.Dev && here.Ino == there.Ino {
			continue
		}
		err := mountInto(p, dir)
		if errors.Is(err, unix.ESRCH) {
			return stateErrorf("pod %s has ended", pod.UUID)
		}
		if err != nil {
			return fmt.Errorf("show image to the pod: %w", err)
		}
	}
	return nil
}

// mountInto mounts our dir at the same place in the mount namespace of p, on a thread that ends with it.
func mountInto(p *process, dir string) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	done := make(chan error)
	go func() {
		goruntime.LockOSThread() // never unlocked
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Setns(p.fd, unix.CLONE_NEWNS)
		}
		if err == nil {
			err = unix.MoveMount(fd, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH)
		}
		done <- err
	}()
	return <-done
}

// ChangeApp asks the supervisor of a running pod for one of pods.ControlStart and ControlStop.
func (r *Runtime) ChangeApp(ctx context.Context, pod *pods.Pod, verb, app string) error {
	if _, err := chooseApps(pod, []string{app}); err != nil {
		return err
	}
	return r.control(ctx, pod, &pods.ControlRequest{Verb: verb, App: app})
}

// RemoveApp removes an app that does not run from a running pod, with its files and logs.
func (r *Runtime) RemoveApp(ctx context.Context, pod *pods.Pod, app string) error {
	lock, err := lockApps(ctx, pod)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release() }()
	if err := r.ChangeApp(ctx, pod, pods.ControlRemove, app); err != nil {
		return err
	}
	return r.Pods().Amend(pod).SweepApps()
}
