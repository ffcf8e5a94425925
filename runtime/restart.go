package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// Again makes a new pod of the same manifest as pod, and stops pod: a pod runs once. What is frozen stays frozen: the image of each
// app by its ID, what it runs, its limits, the configuration of the networks. The changed files and the empty volumes begin anew.
// On error nothing of the new pod is left, and what could be found out before stopping the old one leaves that running.
func (r *Runtime) Again(ctx context.Context, pod *pods.Pod) (*Prepared, error) {
	state, err := pod.State()
	if err != nil {
		return nil, err
	}
	if state == pods.Prepared {
		return nil, stateErrorf("pod %s was never run: gantry run-prepared runs it", pod.UUID)
	}
	if state != pods.Exited && !state.Live() {
		return nil, stateErrorf("pod %s is %s: there is nothing to start again", pod.UUID, state)
	}
	release, err := r.Store.Hold()
	if err != nil {
		return nil, err
	}
	defer release()
	draft, err := r.Pods().Draft(pods.NewUUID())
	if err != nil {
		return nil, fmt.Errorf("make pod directory: %w", err)
	}
	m, lock, err := r.copyInto(ctx, draft, pod)
	if err != nil {
		return nil, errors.Join(err, draft.Discard())
	}
	return newPrepared(draft.Pod, m, draft.Path(), lock), nil
}

// copyInto writes what old says into the draft, and commits it when old is over and has given its name and addresses back.
func (r *Runtime) copyInto(ctx context.Context, draft *pods.Draft, old *pods.Pod) (*pods.Manifest, *pods.Lock, error) {
	m, err := old.Manifest()
	if err != nil {
		return nil, nil, err
	}
	apps, err := old.Apps()
	if err != nil {
		return nil, nil, err
	}
	for _, n := range m.Networks {
		data, err := old.ReadFile(n.Conflist)
		if err == nil {
			err = draft.WriteFile(n.Conflist, data)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("copy configuration of network %s: %w", n.Name, err)
		}
	}
	roots := map[string]imageRoot{}
	for _, a := range apps {
		if slices.ContainsFunc(a.Sockets, func(s pods.Socket) bool { return !s.Optional }) {
			return nil, nil, stateErrorf("app %s takes sockets of its unit, which nobody else has: systemctl restart its unit", a.Name)
		}
		if roots[a.Name], err = r.copyApp(ctx, draft, old, a); err != nil {
			return nil, nil, fmt.Errorf("app %s: %w", a.Name, err)
		}
	}
	volumes := m.Volumes
	for _, a := range apps {
		volumes = append(volumes, a.Volumes...)
	}
	for _, v := range volumes {
		again := bundle.Volume{Name: v.Name, Kind: v.Kind, Mode: v.Mode, UID: v.UID, GID: v.GID, From: v.From, Propagation: v.Propagation}
		if err := makeVolumes(draft, []bundle.Volume{again}, roots[v.App]); err != nil {
			return nil, nil, err
		}
	}
	if m.Hostname == defaultHostname(old.UUID) {
		m.Hostname = defaultHostname(draft.UUID)
	}
	m.Created, m.Run = time.Now(), true
	if err := Stop(ctx, old, StopOptions{Warn: r.Warn}); err != nil {
		return nil, nil, err
	}
	lock, err := draft.Commit(m, false)
	return m, lock, err
}

// copyApp writes the app's files, with the paths and the name of the new pod in place of the old one's.
func (r *Runtime) copyApp(ctx context.Context, draft *pods.Draft, old *pods.Pod, a *pods.App) (imageRoot, error) {
	ref, err := image.ParseRef(a.Image.ID)
	if err != nil {
		return imageRoot{}, err
	}
	used, err := r.useImage(ctx, ref, false)
	if err != nil {
		return imageRoot{}, err
	}
	a.Rootfs.Lower, a.Added = used.lower, false // the new pod starts all of them
	if a.Rootfs.Copied {
		if err := r.copyRoot(ctx, draft, a.Name, used); err != nil {
			return imageRoot{}, err
		}
	}
	files := []string{pods.ConfigFile}
	if a.PreStart != nil {
		files = append(files, pods.PreStartFile)
	}
	if a.PostStop != nil {
		files = append(files, pods.PostStopFile)
	}
	for _, file := range files {
		if err := r.copyConfig(draft, old, pods.AppPath(a.Name, file)); err != nil {
			return imageRoot{}, err
		}
	}
	return imageRoot{used.lower}, draft.AddApp(a)
}

func (r *Runtime) copyConfig(draft *pods.Draft, old *pods.Pod, file string) error {
	data, err := old.ReadFile(file)
	if err != nil {
		return err
	}
	spec := &specs.Spec{}
	if err := json.Unmarshal(data, spec); err != nil {
		return err
	}
	if spec.Process == nil {
		return fmt.Errorf("%s has no process", file)
	}
	moveSpec(spec, r.Pods().PodPath(old.UUID), draft.Path(), old.UUID, draft.UUID)
	if data, err = json.Marshal(spec); err != nil {
		return err
	}
	return draft.WriteFile(file, data)
}

// moveSpec changes what package bundle wrote of the pod itself: sources of mounts below its directory, and its name in the
// environment.
func moveSpec(spec *specs.Spec, from, to, fromUUID, toUUID string) {
	for i := range spec.Mounts {
		if rest, ok := strings.CutPrefix(spec.Mounts[i].Source, from+"/"); ok {
			spec.Mounts[i].Source = to + "/" + rest
		}
	}
	for i, kv := range spec.Process.Env {
		if kv == "GANTRY_POD="+fromUUID {
			spec.Process.Env[i] = "GANTRY_POD=" + toUUID
		}
	}
}
