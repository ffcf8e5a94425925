package runtime

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gantryrun/gantry/image/appc"
	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime/bundle"
	"github.com/gantryrun/gantry/runtime/isolator"
)

// adoptAppc lets what appc says of the apps take effect: the manifests of their images, and the apps of a pod manifest in their place.
// Images that were none of appc's stay as they are.
func (r *Runtime) adoptAppc(req *Request, images []*usedImage) error {
	for i := range req.Apps {
		a := &req.Apps[i]
		if own := images[i].Config.Config.Labels[appc.LabelName]; own != "" {
			a.fromAppc(own, images[i].Config.Config.User)
		}
		if a.Override != nil {
			config, err := appc.Override(images[i].Config, a.Override)
			if err != nil {
				return fmt.Errorf("app %s: %w", a.Name, err)
			}
			own, stored := *images[i], *images[i].Image // apps may share an image
			stored.Config, own.Image = config, &stored
			images[i] = &own
		}
		kept, err := appc.Kept(images[i].Config.Config.Labels)
		if err == nil && kept != nil {
			err = r.adoptApp(a, kept)
		}
		if what := confinement(a.App); err == nil && req.Stage1 == pods.Stage1Chroot && what != "" {
			err = requestErrorf("its isolators ask for what the flavour %s cannot do: %s", req.Stage1, what)
		}
		if err != nil {
			return fmt.Errorf("app %s: %w", a.Name, err)
		}
	}
	if err := req.checkNames(); err != nil {
		return requestError{err}
	}
	req.findShared()
	return nil
}

// fromAppc takes from the image of appc that is called name and has user what its manifest says better than we could guess.
func (a *AppRequest) fromAppc(name, user string) {
	if own := cleanName(name); a.guessed && own != "" {
		a.Name = own // as rkt called it
	}
	if a.User != "" && a.Group == "" { // two fields in appc: a flag for one leaves the other
		_, a.Group, _ = strings.Cut(user, ":")
	}
}

func (r *Runtime) adoptApp(a *AppRequest, kept *appc.App) error {
	a.appc = kept
	for _, m := range kept.MountPoints {
		a.Places = append(a.Places, bundle.Place{Name: m.Name, Path: m.Path, ReadOnly: m.ReadOnly})
	}
	if a.User == "" && a.SupplementaryGIDs == nil { // they are meant for the image's own user
		for _, gid := range kept.SupplementaryGIDs {
			a.SupplementaryGIDs = append(a.SupplementaryGIDs, uint32(gid))
		}
	}
	set, err := isolator.Parse(kept.Isolators)
	if err != nil {
		return err
	}
	for _, name := range set.Unknown {
		r.warn("app %s: isolator %q is unknown, and ignored", a.Name, name)
	}
	if a.Override != nil {
		set.Grant(&a.App)
		return nil
	}
	if refused := set.Tighten(&a.App); len(refused) > 0 {
		r.warn("app %s: its image asks for more than an image may give itself: %s", a.Name, strings.Join(refused, "; "))
	}
	return nil
}

// resolveAppcPorts gives ports that are published by the name that an image has for them their numbers.
func (req *Request) resolveAppcPorts() error {
	for i := range req.Ports {
		p := &req.Ports[i]
		if p.Resolved() {
			continue
		}
		var found []appc.Port
		var names []string
		for _, a := range req.Apps {
			if a.appc == nil {
				continue
			}
			for _, port := range a.appc.Ports {
				names = append(names, port.Name)
				if port.Name == p.Name {
					found = append(found, port)
				}
			}
		}
		switch {
		case len(found) == 0 && len(names) == 0:
			return fmt.Errorf("port %q: want [HOSTIP:]HOSTPORT:PORT[/PROTOCOL], or a name such as 80-tcp", p.Name)
		case len(found) == 0:
			slices.Sort(names)
			return fmt.Errorf("port %q: the images call theirs %s", p.Name, strings.Join(slices.Compact(names), " "))
		case len(found) > 1:
			return fmt.Errorf("port %q: two apps have one of that name: say its number", p.Name)
		}
		p.ContainerPort, p.Protocol = uint16(found[0].Port), found[0].Protocol
	}
	return nil
}

// freeze fixes the networks. It comes before the images where it can, so that a mistake there is told before anything is fetched; ports
// that have a name of an image must wait for it.
func (r *Runtime) freeze(req *Request, haveImages bool) ([]conf.Network, error) {
	wait := slices.ContainsFunc(req.Ports, func(p conf.PortMapping) bool { return !p.Resolved() })
	if wait != haveImages {
		return nil, nil
	}
	if haveImages {
		if err := req.resolveAppcPorts(); err != nil {
			return nil, requestError{err}
		}
	}
	return r.Networks.Freeze(req.Net, req.Ports)
}
