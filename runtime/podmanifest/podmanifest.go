// Package podmanifest reads appc's pod manifests (spec 0.8, pods.md), which rkt ran and wrote.
//
// It knows their form and what of it becomes what of a Request; it never looks for an image and never touches the disk. Its invariant:
// what it accepts means in gantry what it says; what gantry has not is refused by name.
package podmanifest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/appc"
	"github.com/gantryrun/gantry/image/strictjson"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime"
	"github.com/gantryrun/gantry/runtime/bundle"
	"github.com/gantryrun/gantry/runtime/isolator"
)

// manifest is an appc pod manifest.
type manifest struct {
	Kind        string            `json:"acKind"`
	Version     string            `json:"acVersion"`
	Apps        []app             `json:"apps"`
	Volumes     []volume          `json:"volumes"`
	Isolators   []appc.Isolator   `json:"isolators"`
	Annotations []appc.Pair       `json:"annotations"`
	Ports       []port            `json:"ports"`
	UserAnnots  map[string]string `json:"userAnnotations"`
	UserLabels  map[string]string `json:"userLabels"`
}

type app struct {
	Name           string      `json:"name"`
	Image          appImage    `json:"image"`
	App            *appc.App   `json:"app"`
	ReadOnlyRootFS bool        `json:"readOnlyRootFS"`
	Mounts         []mount     `json:"mounts"`
	Annotations    []appc.Pair `json:"annotations"`
}

type appImage struct {
	Name   string      `json:"name"`
	ID     string      `json:"id"`
	Labels []appc.Pair `json:"labels"`
}

type mount struct {
	Volume    string  `json:"volume"`
	Path      string  `json:"path"`
	AppVolume *volume `json:"appVolume"`
}

// Parse reads a manifest into req, and returns its apps. req's other fields stay as they are.
func Parse(data []byte, req *runtime.Request) ([]runtime.AppRequest, error) {
	m := &manifest{}
	if err := strictjson.Decode(data, m); err != nil {
		return nil, err
	}
	switch {
	case m.Kind != "PodManifest":
		return nil, fmt.Errorf("acKind %q: want PodManifest", m.Kind)
	case !strings.HasPrefix(m.Version, "0."):
		return nil, fmt.Errorf("acVersion %q: want 0.x", m.Version)
	case len(m.Apps) == 0:
		return nil, errors.New("it has no apps")
	}
	if err := m.fill(req); err != nil {
		return nil, err
	}
	var apps []runtime.AppRequest
	for _, a := range m.Apps {
		one, err := a.request(req)
		if err != nil {
			return nil, fmt.Errorf("app %q: %w", a.Name, err)
		}
		apps = append(apps, one)
	}
	return apps, m.isolate(apps)
}

// fill reads what is the pod's.
func (m *manifest) fill(req *runtime.Request) error {
	for _, v := range m.Volumes {
		volume, err := v.volume()
		if err != nil {
			return err
		}
		req.Volumes = append(req.Volumes, volume)
	}
	for _, p := range m.Ports {
		mapping, err := p.mapping()
		if err != nil {
			return err
		}
		req.Ports = append(req.Ports, mapping)
	}
	var err error
	if req.Annotations, err = merge(req.Annotations, m.Annotations, m.UserAnnots); err != nil {
		return err
	}
	req.Labels, err = merge(req.Labels, nil, m.UserLabels)
	return err
}

// merge refuses a name that is said twice, with different values or not.
func merge(into map[string]string, pairs []appc.Pair, more map[string]string) (map[string]string, error) {
	for name, value := range more {
		pairs = append(pairs, appc.Pair{Name: name, Value: value})
	}
	for _, p := range pairs {
		if _, twice := into[p.Name]; twice || p.Name == "" {
			return nil, fmt.Errorf("annotation or label %q: want each name once", p.Name)
		}
		if into == nil {
			into = map[string]string{}
		}
		into[p.Name] = p.Value
	}
	return into, nil
}

// request is what the manifest says of one app. Its own volumes (appVolume) become the pod's.
func (a *app) request(req *runtime.Request) (runtime.AppRequest, error) {
	if err := pods.CheckAppName(a.Name); err != nil {
		return runtime.AppRequest{}, err
	}
	out := runtime.AppRequest{Essential: true, Override: a.App}
	out.Name, out.ReadOnlyRootfs = a.Name, a.ReadOnlyRootFS
	var err error
	if out.Image, err = a.Image.ref(); err != nil {
		return out, err
	}
	if out.Annotations, err = merge(nil, a.Annotations, nil); err != nil {
		return out, err
	}
	for _, m := range a.Mounts {
		if m.AppVolume != nil {
			v, err := m.AppVolume.volume()
			if err != nil {
				return out, err
			}
			if v.Name != m.Volume {
				return out, fmt.Errorf("mount of volume %q: its appVolume is %q", m.Volume, v.Name)
			}
			req.Volumes = append(req.Volumes, v)
		}
		mount, err := bundle.NewMount(m.Volume, m.Path)
		if err != nil {
			return out, err
		}
		out.Mounts = append(out.Mounts, mount)
	}
	return out, nil
}

// ref is the image by its ID, which decides and is in the store (a reified manifest, as the spec calls it); without one, by its name.
func (i *appImage) ref() (image.Ref, error) {
	if i.ID != "" {
		if !strings.HasPrefix(i.ID, "sha512-") && !strings.HasPrefix(i.ID, "sha256:") {
			return image.Ref{}, fmt.Errorf("image id %q: want sha512-… or sha256:…", i.ID)
		}
		return image.ParseRef(i.ID)
	}
	if i.Name == "" {
		return image.Ref{}, errors.New("its image has neither an id nor a name")
	}
	name, rest := "aci:"+i.Name, ""
	for _, l := range i.Labels {
		if strings.ContainsAny(l.Name+l.Value, ",=:") {
			return image.Ref{}, fmt.Errorf("image %s: label %q", i.Name, l.Name)
		}
		if l.Name == "version" {
			name += ":" + l.Value
		} else {
			rest += "," + l.Name + "=" + l.Value
		}
	}
	return image.ParseRef(name + rest)
}

// isolate applies what the manifest says of the pod as a whole. Limits of the sum of several apps need a cgroup of the pod that nobody
// writes limits to: those are a unit's to say.
func (m *manifest) isolate(apps []runtime.AppRequest) error {
	set, err := isolator.Parse(m.Isolators)
	if err != nil {
		return err
	}
	if len(set.Unknown) > 0 {
		return fmt.Errorf("isolator %s of the pod: %w", set.Unknown[0], isolator.ErrUnenforceable)
	}
	for i := range apps {
		apps[i].Sysctls = set.Sysctls
	}
	set.Sysctls = nil
	switch {
	case len(m.Isolators) == 0 || len(m.Isolators) == 1 && m.Isolators[0].Name == "os/unix/sysctl":
	case len(apps) > 1:
		return fmt.Errorf("isolators of a pod of several apps: %w: say them of each app, or MemoryMax= and the like of the pod's unit", isolator.ErrUnenforceable)
	case m.Apps[0].App != nil && len(m.Apps[0].App.Isolators) > 0:
		return errors.New("isolators of the pod and of its only app: say them of one of the two")
	default:
		set.Grant(&apps[0].App)
	}
	return nil
}
