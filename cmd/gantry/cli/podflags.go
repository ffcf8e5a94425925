package cli

import (
	"fmt"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// podOptions are the flags before the first image.
type podOptions struct {
	req      runtime.Request
	apps     []*appOptions // of the same line
	words    []lineWord    // the line
	net      []string
	dnsMode  string
	inherit  bool
	ipc      string
	uuidFile string
	manifest string
	pull     runtime.PullPolicy
	detach   bool
	unit     unitOptions
	terminal bool // --interactive

	stage1Path string
	tty        bool // -t
}

func (o *podOptions) addFlags(fs *pflag.FlagSet) {
	oneVar(fs, &o.req.Name, "pod-name", "NAME", "name of the pod, unique among the pods that are not over", podName)
	o.addNetFlags(fs)
	listVar(fs, &o.req.Ports, "port", "[HOSTIP:]HOSTPORT:PORT[/PROTO]", "publish a port of the pod; also NAME:[HOSTIP:]HOSTPORT", conf.ParsePort)
	alias(fs, "publish", "p", "port")
	o.addEnvFlags(fs)
	fs.Var(&value{typ: "NAME,kind=host|empty|tmpfs,...", list: true, set: o.addVolume}, "volume", "volume of the pod: source= readOnly= recursive= mode= uid= gid= size=")
	listVar(fs, &o.req.Mounts, "mount", "volume=NAME,target=PATH", "mount a volume into every app", bundle.ParseMount)
	fs.VarP(bindValue(&o.req.Volumes, &o.req.Mounts), "bind", "v", "host volume and mount in one, in every app")
	mapVar(fs, &o.req.Labels, "label", "label of the pod")
	mapVar(fs, &o.req.Annotations, "annotation", "annotation of the pod")
	oneVar(fs, &o.req.PID, "pid", "pod|app|host", "PID namespace: pod: shared by the pod's apps; app: one for each; host: the host's", oneOf(pods.PIDPod, pods.PIDApp, pods.PIDHost))
	fs.StringVar(&o.uuidFile, "uuid-file-save", "", "`FILE` to write the pod's UUID to, before the pod is made")
	pullVar(fs, &o.pull, runtime.PullNew)
	fs.BoolVarP(&o.detach, "detach", "d", false, "leave the pod running and print its UUID")
	fs.StringVar(&o.unit.slice, "slice", "", "with --detach: `SLICE` of the pod's unit")
	listVar(fs, &o.unit.properties, "property", "NAME=VALUE", "with --detach: property of the pod's unit, as in systemd-run", parseProperty)
	fs.BoolVarP(&o.terminal, "interactive", "i", false, "the app (one only) reads the terminal")
	fs.BoolVarP(&o.tty, "tty", "t", false, "the app (one only) has a terminal of its own, joined to the caller's")
	fs.StringVar(&o.manifest, "pod-manifest", "", "read the pod from this `FILE`: gantry's own form, or appc's")
	yesNoVar(fs, &o.req.Users, "private-users", "a user namespace: root of the pod is nobody on the host")
	yesNoVar(fs, &o.req.NoOverlay, "no-overlay", "copy the image for the pod instead of overlaying it")
	noMetadataVar(fs)
	oneVar(fs, &o.req.Stage1, "stage1-name", "default|chroot", "default; chroot: no isolation but the root file system, for agents of the node", parseStage1)
	alias(fs, "stage1-from-dir", "", "stage1-name")
	fs.StringVar(&o.stage1Path, "stage1-path", "", "`DIR` of gantry-stage1 and its companions")
	fs.BoolVar(&o.req.Register, "register", false, "list the pod in machinectl, as gantry-UUID")
	fs.BoolVar(&o.req.Remove, "rm", false, "remove the pod when it is over; its logs and status go with it")
	alias(fs, "name", "", "pod-name")
	alias(fs, "cidfile", "", "uuid-file-save")
	fs.Bool("init", true, "accepted: every pod has a reaper as its first process")
	fs.Lookup("init").Hidden = true
}

// addNetFlags defines what run-prepared takes, too.
func (o *podOptions) addNetFlags(fs *pflag.FlagSet) {
	fs.Var(&value{typ: "NAME[:IP=ADDR],...", list: true, set: func(s string) error {
		o.net = append(o.net, s)
		_, err := conf.ParseNet(o.net)
		return err
	}}, "net", "networks: names from net.d, default, none or host")
	net := fs.Lookup("net")
	net.NoOptDefVal = "default"
	net.Annotations = map[string][]string{optionalValue: {"true"}}
	alias(fs, "network", "", "net")
	fs.Lookup("network").NoOptDefVal = ""
	oneVar(fs, &o.ipc, "ipc", "auto|private|parent", "auto or private: the pod's own; parent: the host's", oneOf("auto", "private", "parent", "host"))
	oneVar(fs, &o.req.Hostname, "hostname", "NAME", "host name in the pod (default gantry-UUID)", hostName)
	listsVar(fs, &o.req.DNS.Servers, "dns", "ADDRESS,...", "name server; host: the host's resolv.conf; none: none", o.parseDNS)
	listVar(fs, &o.req.DNS.Search, "dns-search", "DOMAIN", "domain to search", domain)
	listVar(fs, &o.req.DNS.Options, "dns-opt", "OPTION", "option of resolv.conf", word)
	alias(fs, "dns-option", "", "dns-opt")
	oneVar(fs, &o.req.DNS.Domain, "dns-domain", "DOMAIN", "domain of resolv.conf", domain)
	listVar(fs, &o.req.Hosts, "hosts-entry", "IP=NAME[,...]", "line of /etc/hosts; host: the host's file", parseHosts)
	listVar(fs, &o.req.Hosts, "add-host", "NAME:IP", "same, as podman writes it", parseAddHost)
	fs.Lookup("add-host").Hidden = true
}

func (o *podOptions) addEnvFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.inherit, "inherit-env", false, "pass the caller's environment on")
	listsVar(fs, &o.req.Env.Files, "set-env-file", "FILE", "file of NAME=VALUE lines for every app", func(path string) ([]bundle.EnvVar, error) {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		vars, err := bundle.ParseEnvFile(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return vars, nil
	})
	alias(fs, "env-file", "", "set-env-file")
	listVar(fs, &o.req.Env.Set, "set-env", "NAME=VALUE", "environment variable of every app", parseEnvOrOwn)
	alias(fs, "env", "e", "set-env")
}

// parseEnvOrOwn takes podman's bare NAME too: the caller's value.
func parseEnvOrOwn(s string) (bundle.EnvVar, error) {
	if s != "" && !strings.Contains(s, "=") {
		if v, ok := os.LookupEnv(s); ok {
			return bundle.EnvVar{Name: s, Value: v}, nil
		}
	}
	return bundle.ParseEnv(s)
}

// parseDNS leaves the two words that are no address to the pod's mode.
func (o *podOptions) parseDNS(s string) ([]string, error) {
	if s == "host" || s == "none" {
		o.dnsMode = s
		return nil, nil
	}
	servers := strings.Split(s, ",")
	for _, server := range servers {
		if _, err := netip.ParseAddr(server); err != nil {
			return nil, fmt.Errorf("%q is no IP address: want one, host or none", server)
		}
	}
	return servers, nil
}

func parseProperty(s string) (string, error) {
	if name, _, ok := strings.Cut(s, "="); !ok || name == "" {
		return "", fmt.Errorf("%q: want NAME=VALUE", s)
	}
	return s, nil
}

// parseStage1 takes the names of rkt's flavours for those of ours that do what they did.
func parseStage1(s string) (string, error) {
	base, _, _ := strings.Cut(path.Base(s), ":")
	switch strings.TrimSuffix(base, ".aci") {
	case pods.Stage1Default, "stage1-coreos", "stage1-host", "stage1-src":
		return pods.Stage1Default, nil
	case pods.Stage1Chroot, "stage1-fly":
		return pods.Stage1Chroot, nil
	}
	return "", fmt.Errorf("%q: there are default and chroot", s)
}

// addVolume takes what -v takes, too: no volume's name begins with a slash.
func (o *podOptions) addVolume(s string) error {
	if strings.HasPrefix(s, "/") {
		return addBind(s, &o.req.Volumes, &o.req.Mounts)
	}
	v, err := bundle.ParseVolume(s)
	if err == nil {
		o.req.Volumes = append(o.req.Volumes, v)
	}
	return err
}

func podName(s string) (string, error) { return s, pods.CheckName(s) }

func hostName(s string) (string, error) { return s, runtime.CheckHostname(s) }

func oneOf(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", fmt.Errorf("%q: want %s", s, strings.Join(words, ", "))
		}
		return s, nil
	}
}

// domain is what resolvers and /etc/hosts take for a name.
func domain(s string) (string, error) {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	if s == "" || len(s) > 253 || strings.Trim(s, letters+".-_") != "" || strings.HasPrefix(s, "-") || strings.Contains(s, "..") {
		return "", fmt.Errorf("%q: want a domain", s)
	}
	return s, nil
}

// word is text that may stand in resolv.conf without starting a line of its own.
func word(s string) (string, error) {
	if s == "" || len(s) > 253 || strings.ContainsAny(s, " \t\r\n\x00") {
		return "", fmt.Errorf("%q: want one word", s)
	}
	return s, nil
}

// parseHosts parses rkt's IP=NAME[,NAME]. The zero value stands for the word host.
func parseHosts(s string) (pods.HostsEntry, error) {
	if s == pods.HostsFileHost {
		return pods.HostsEntry{}, nil
	}
	ip, names, ok := strings.Cut(s, "=")
	if _, err := netip.ParseAddr(ip); !ok || err != nil {
		return pods.HostsEntry{}, fmt.Errorf("%q: want IP=NAME[,NAME]", s)
	}
	return hostsEntry(ip, strings.Split(names, ","))
}

func parseAddHost(s string) (pods.HostsEntry, error) {
	name, ip, _ := strings.Cut(s, ":")
	if _, err := netip.ParseAddr(strings.Trim(ip, "[]")); err != nil {
		return pods.HostsEntry{}, fmt.Errorf("%q: want NAME:IP", s)
	}
	return hostsEntry(strings.Trim(ip, "[]"), []string{name})
}

func hostsEntry(ip string, names []string) (pods.HostsEntry, error) {
	for _, n := range names {
		if _, err := domain(n); err != nil {
			return pods.HostsEntry{}, err
		}
	}
	return pods.HostsEntry{IP: ip, Names: names}, nil
}

func bindValue(volumes *[]bundle.Volume, mounts *[]bundle.Mount) *value {
	return &value{typ: "/SOURCE:/TARGET[:ro]", list: true, set: func(s string) error { return addBind(s, volumes, mounts) }}
}

func addBind(s string, volumes *[]bundle.Volume, mounts *[]bundle.Mount) error {
	s, err := absoluteBind(s)
	if err != nil {
		return err
	}
	v, m, err := bundle.ParseBind(s)
	if err == nil {
		*volumes, *mounts = append(*volumes, v), append(*mounts, m)
	}
	return err
}

// absoluteBind is SOURCE:TARGET with the source from / on.
func absoluteBind(s string) (string, error) {
	if !strings.HasPrefix(s, "./") && !strings.HasPrefix(s, "../") {
		return s, nil
	}
	source, rest, _ := strings.Cut(s, ":")
	abs, err := filepath.Abs(source)
	return abs + ":" + rest, err
}

// request finishes what the flags mean together.
func (o *podOptions) request(apps []*appOptions, in insecure) (*runtime.Request, error) {
	req := &o.req
	var err error
	if req.Net, err = conf.ParseNet(o.net); err != nil {
		return nil, usageError{err}
	}
	req.NetUnasked = len(o.net) == 0
	if req.DNS.Mode = o.dnsMode; o.dnsMode != "" && len(req.DNS.Servers) > 0 {
		return nil, usagef("--dns=%s excludes other name servers", o.dnsMode)
	}
	isHost := func(e pods.HostsEntry) bool { return e.IP == "" }
	if slices.ContainsFunc(req.Hosts, isHost) {
		req.HostsFile, req.Hosts = pods.HostsFileHost, slices.DeleteFunc(req.Hosts, isHost)
		if len(req.Hosts) > 0 {
			return nil, usagef("--hosts-entry=host excludes other entries")
		}
	}
	nameCredentials(req)
	if o.inherit {
		req.Env.Inherited = bundle.InheritedEnv(os.Environ())
	}
	req.PrivateIPC, req.HostIPC = o.ipc == "private", o.ipc == "parent" || o.ipc == "host"
	req.Pull = o.pull
	if (o.terminal || o.tty) && len(apps) > 1 {
		return nil, usagef("--interactive and --tty are for a pod of one app: of several, say --stdin=tty after the image")
	}
	req.Insecure = bundle.Insecure{Capabilities: in["capabilities"], Seccomp: in["seccomp"], Paths: in["paths"]}
	for _, a := range apps {
		app, err := a.request(req)
		if err != nil {
			return nil, err
		}
		if o.terminal && o.detach && app.Stdin == "" {
			app.Stdin = pods.StreamStream // for who attaches
		}
		if o.tty {
			app.Stdin, app.Stdout, app.Stderr = pods.StreamTTY, pods.StreamTTY, pods.StreamTTY
		}
		req.Apps = append(req.Apps, app)
	}
	return req, nil
}

// pullVar defines --pull-policy, and the older and other names for it.
func pullVar(fs *pflag.FlagSet, dst *runtime.PullPolicy, standard runtime.PullPolicy) {
	*dst = standard
	oneVar(fs, dst, "pull-policy", "POLICY", fmt.Sprintf("when to fetch images: never, new (if not stored) or update (default %s)", standard), parsePull)
	alias(fs, "pull", "", "pull-policy")
	rkt := func(name string, policy runtime.PullPolicy) {
		fs.AddFlag(&pflag.Flag{Name: name, Usage: "same as --pull-policy=" + string(policy), Hidden: true, NoOptDefVal: "true", Value: &value{typ: "bool", bool: true, set: func(s string) error {
			on, err := strconv.ParseBool(s)
			if on {
				*dst = policy
			}
			return err
		}}})
	}
	rkt("store-only", runtime.PullNever)
	rkt("no-store", runtime.PullUpdate)
}

func parsePull(s string) (runtime.PullPolicy, error) {
	switch s {
	case "missing": // podman's words
		s = "new"
	case "always", "newer":
		s = "update"
	}
	switch p := runtime.PullPolicy(s); p {
	case runtime.PullNew, runtime.PullNever, runtime.PullUpdate:
		return p, nil
	}
	return "", fmt.Errorf("%q: want never, new or update", s)
}
