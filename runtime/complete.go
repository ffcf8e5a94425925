package runtime

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// complete fills in what a request may leave out, and refuses what cannot be.
func (req *Request) complete() error {
	if len(req.Apps) == 0 && !req.Sandbox {
		return errors.New("no image: gantry run IMAGE [-- ARG...]")
	}
	if req.UUID == "" {
		req.UUID = pods.NewUUID()
	}
	if err := req.checkFlavour(); err != nil {
		return err
	}
	if req.Hostname == "" {
		req.Hostname = defaultHostname(req.UUID)
	}
	if err := CheckHostname(req.Hostname); err != nil {
		return err
	}
	if req.Name != "" {
		if err := pods.CheckName(req.Name); err != nil {
			return fmt.Errorf("pod %w", err)
		}
	}
	if err := req.completeApps(); err != nil {
		return err
	}
	if err := req.checkUsers(); err != nil {
		return err
	}
	if err := req.checkVolumes(); err != nil {
		return err
	}
	return req.resolvePorts()
}

// checkUsers refuses what the kernel would: a user namespace has no rights in the host's other namespaces, and cannot even show them.
func (req *Request) checkUsers() error {
	for _, shared := range []struct {
		flag string
		host bool
	}{{"--net=host", req.Net.Mode == conf.HostNet}, {"--ipc=parent", req.HostIPC}, {"--pid=host", req.PID == pods.PIDHost}} {
		if req.Users && shared.host {
			return fmt.Errorf("--private-users excludes %s: the pod's root would have no rights there", shared.flag)
		}
	}
	return nil
}

func defaultHostname(uuid string) string { return "gantry-" + uuid }

// CheckHostname accepts what sethostname(2) and resolv.conf's readers do. (No regular expression: compiling one costs each run.)
func CheckHostname(s string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
	if len(s) > 64 || strings.Trim(s, letters+".-") != "" || strings.Trim(s, ".-") != s {
		return fmt.Errorf("hostname %q: use up to 64 letters, digits, dots, dashes and underscores", s)
	}
	return nil
}

func (req *Request) completeApps() error {
	for i := range req.Apps {
		a := &req.Apps[i]
		if a.Name == "" {
			a.Name, a.guessed = appName(a.Image), mayBeAppc(a.Image)
		}
		if a.StopTimeout == 0 {
			a.StopTimeout = DefaultStopTimeout
		}
		policy, err := pods.ParseRestart(a.Restart)
		if err != nil {
			return fmt.Errorf("app %s: %w", a.Name, err)
		}
		if policy != (pods.RestartPolicy{}) && a.Stdin == pods.StreamTTY {
			return fmt.Errorf("app %s: one with a terminal cannot be started again: leave out --restart or --tty", a.Name)
		}
	}
	if slices.ContainsFunc(req.Apps, func(a AppRequest) bool { return a.guessed }) {
		return nil // adoptAppc checks them
	}
	return req.checkNames()
}

// checkNames is about the apps' names when they are final.
func (req *Request) checkNames() error {
	names := map[string]bool{}
	for _, a := range req.Apps {
		if err := pods.CheckAppName(a.Name); err != nil {
			return fmt.Errorf("app %w: say --name=NAME after the image", err)
		}
		if names[a.Name] {
			return fmt.Errorf("two apps are called %q: say --name=NAME after one of the images", a.Name)
		}
		names[a.Name] = true
	}
	for _, a := range req.Apps {
		if a.added {
			continue // it is after apps of its pod
		}
		for _, before := range a.After {
			if !names[before] || before == a.Name {
				return fmt.Errorf("app %s: --after=%s: the pod has no other app of that name", a.Name, before)
			}
		}
	}
	return nil
}

// appName makes a name of the last part of the image's.
func appName(ref image.Ref) string {
	s := ref.Repository
	switch {
	case s != "":
	case namesProgram(ref.Tag): // of a layout or an archive: what is in there
		s, _, _ = strings.Cut(strings.SplitN(path.Base(ref.Tag), "@", 2)[0], ":")
	case ref.Path != "":
		s = strings.TrimSuffix(path.Base(ref.Path), path.Ext(ref.Path))
	default:
		return "app" // of an image ID
	}
	return cleanName(s)
}

// mayBeAppc says that the image may turn out to be one of appc's, whose manifest has a name that says more than a path, a URL or an ID.
func mayBeAppc(ref image.Ref) bool {
	return ref.Kind == image.File || ref.Kind == image.ACI || ref.Kind == image.ID
}

// cleanName makes an app's name of the last part of s.
func cleanName(s string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, path.Base(s))
	clean = strings.Trim(clean, "-_")
	return clean[:min(len(clean), 63)]
}

// namesProgram tells "redis" and "example.com/redis:7" from "latest", "1" and "v1.27-alpine".
func namesProgram(tag string) bool {
	return tag != "" && tag != "latest" && strings.IndexFunc(strings.TrimPrefix(tag, "v"), unicode.IsDigit) != 0
}

// unusedVolumes are those that no app mounts. One called volume-PATH is for an image that declares PATH.
func (req *Request) unusedVolumes() []string {
	used := map[string]bool{}
	for _, m := range req.Mounts {
		used[m.Volume] = true
	}
	for _, a := range req.Apps {
		for _, m := range a.Mounts {
			used[m.Volume] = true
		}
		for _, p := range a.Places {
			used[p.Name] = true
		}
	}
	var unused []string
	for _, v := range req.Volumes {
		if !used[v.Name] && !v.Shared && !strings.HasPrefix(v.Name, "volume-") {
			unused = append(unused, v.Name)
		}
	}
	return unused
}

// checkVolumes refuses what would surprise, two volumes of one name or a source that is not there, and finds out what apps share.
func (req *Request) checkVolumes() error {
	req.Volumes = uniqueBinds(req.Volumes)
	seen := map[string]bool{}
	for _, v := range req.Volumes {
		if seen[v.Name] {
			return fmt.Errorf("volume %q is defined twice", v.Name)
		}
		seen[v.Name] = true
		if err := checkSource(v); err != nil {
			return err
		}
		if v.Propagation == pods.PropagationShared && (req.Users || !isDir(v.Source)) {
			return fmt.Errorf("volume %q: propagation=shared is for directories, and not with --private-users", v.Name)
		}
	}
	if err := checkTargets("every app", req.Mounts); err != nil {
		return err
	}
	for _, a := range req.Apps {
		if err := checkTargets("app "+a.Name, a.Mounts); err != nil {
			return err
		}
	}
	req.findShared()
	if len(req.Apps) > 1 && !req.HostIPC {
		req.Volumes = append(req.Volumes, bundle.ShmVolume())
	}
	return nil
}

// checkTargets refuses two mounts at one place, of which one would not be seen. (An app's takes the place of one that every app has.)
func checkTargets(whose string, mounts []bundle.Mount) error {
	seen := map[string]bundle.Mount{}
	for _, m := range mounts {
		if first, ok := seen[m.Target]; ok && first != m {
			return fmt.Errorf("%s: two volumes are to be mounted at %q", whose, m.Target)
		}
		seen[m.Target] = m
	}
	return nil
}

// findShared finds out what memory several mounts share.
func (req *Request) findShared() {
	uses := map[string]int{}
	for _, m := range req.Mounts {
		uses[m.Volume] += len(req.Apps)
	}
	for _, a := range req.Apps {
		for _, m := range a.Mounts {
			uses[m.Volume]++
		}
		for _, p := range a.Places {
			uses[p.Name]++
		}
	}
	for i, v := range req.Volumes {
		if v.Kind == bundle.KindTmpfs && uses[v.Name] > 1 {
			req.Volumes[i].Shared = true
		}
	}
}

// uniqueBinds drops what short forms (-v /a:/x and -v /a:/y) define twice with the same meaning.
func uniqueBinds(volumes []bundle.Volume) []bundle.Volume {
	var out []bundle.Volume
	for _, v := range volumes {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// resolvePorts gives a port that is published by its image's name (80-tcp, as rkt called what an image EXPOSEs) its number.
func (req *Request) resolvePorts() error {
	for i := range req.Ports {
		p := &req.Ports[i]
		if p.Resolved() {
			continue
		}
		number, proto, ok := strings.Cut(strings.ReplaceAll(p.Name, "/", "-"), "-")
		n, err := strconv.ParseUint(number, 10, 16)
		if !ok || err != nil || n == 0 || !slices.Contains([]string{"tcp", "udp", "sctp"}, proto) {
			continue // a name of an appc image: see resolveAppcPorts
		}
		p.ContainerPort, p.Protocol = uint16(n), proto
	}
	if len(req.Ports) > 0 && req.Net.Mode != conf.Contained {
		return fmt.Errorf("--port needs a network: --net=%s has none to publish it on", req.Net.Mode)
	}
	return nil
}
