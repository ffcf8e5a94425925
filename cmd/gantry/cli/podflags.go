package cli

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
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
	net      []string
	dnsMode  string
	inherit  bool
	ipc, pid string
	uuidFile string
	manifest string
	pull     string
	detach   bool
	unit     unitOptions
	terminal bool // --interactive

	stage1Path string
	tty        bool // -t
}

func (o *podOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.req.Name, "pod-name", "", "name of the pod, unique among the pods that are not over")
	o.addNetFlags(fs)
	o.addEnvFlags(fs)
	listVar(fs, &o.req.Volumes, "volume", "NAME,kind=host|empty|tmpfs,...", "volume of the pod: source= readOnly= recursive= mode= uid= gid= size=", bundle.ParseVolume)
	listVar(fs, &o.req.Mounts, "mount", "volume=NAME,target=PATH", "mount a volume into every app", bundle.ParseMount)
	fs.VarP(bindValue(&o.req.Volumes, &o.req.Mounts), "bind", "v", "host volume and mount in one, in every app")
	mapVar(fs, &o.req.Labels, "label", "label of the pod")
	mapVar(fs, &o.req.Annotations, "annotation", "annotation of the pod")
	fs.StringVar(&o.ipc, "ipc", "auto", "auto or private: the pod's own; parent: the host's")
	fs.StringVar(&o.pid, "pid", "pod", "pod: shared by the pod's apps; host: the host's")
	fs.StringVar(&o.uuidFile, "uuid-file-save", "", "file to write the pod's UUID to, before the pod is made")
	fs.StringVar(&o.pull, "pull-policy", "new", "when to fetch images: never, new (if not stored) or update")
	fs.BoolVarP(&o.detach, "detach", "d", false, "leave the pod running and print its UUID")
	fs.StringVar(&o.unit.slice, "slice", "", "with --detach: slice of the pod's unit")
	fs.StringArrayVar(&o.unit.properties, "property", nil, "with --detach: NAME=VALUE, property of the pod's unit, as in systemd-run")
	fs.BoolVarP(&o.terminal, "interactive", "i", false, "the app (one only) reads the terminal")
	fs.BoolVarP(&o.tty, "tty", "t", false, "the app (one only) has a terminal of its own, joined to the caller's")
	fs.StringVar(&o.manifest, "pod-manifest", "", "read the pod from this file: gantry's own form, or appc's")
	yesNoVar(fs, &o.req.Users, "private-users", "a user namespace: root of the pod is nobody on the host")
	yesNoVar(fs, &o.req.NoOverlay, "no-overlay", "copy the image for the pod instead of overlaying it")
	notYetVar(fs, "mds-register", "metadata service, which gantry has not", "false")
	fs.StringVar(&o.req.Stage1, "stage1-name", "", "flavour: default; chroot: no isolation but the root file system, for agents of the node")
	fs.StringVar(&o.stage1Path, "stage1-path", "", "directory of gantry-stage1 and its companions")
	fs.BoolVar(&o.req.Register, "register", false, "list the pod in machinectl, as gantry-UUID")
	fs.BoolVar(&o.req.Remove, "rm", false, "remove the pod when it is over; its logs and status go with it")
	alias(fs, "name", "", "pod-name")
	alias(fs, "pull", "", "pull-policy")
	alias(fs, "cidfile", "", "uuid-file-save")
}

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
	listVar(fs, &o.req.Ports, "port", "[HOSTIP:]HOSTPORT:PORT[/PROTO]", "publish a port of the pod; also NAME:[HOSTIP:]HOSTPORT", conf.ParsePort)
	alias(fs, "publish", "p", "port")
	fs.StringVar(&o.req.Hostname, "hostname", "", "host name in the pod (default gantry-UUID)")
	listVar(fs, &o.req.DNS.Servers, "dns", "ADDRESS", "name server; host: the host's resolv.conf; none: none", o.parseDNS)
	listVar(fs, &o.req.DNS.Search, "dns-search", "DOMAIN", "domain to search", word)
	listVar(fs, &o.req.DNS.Options, "dns-opt", "OPTION", "option of resolv.conf", word)
	alias(fs, "dns-option", "", "dns-opt")
	oneVar(fs, &o.req.DNS.Domain, "dns-domain", "DOMAIN", "domain of resolv.conf", word)
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
func (o *podOptions) parseDNS(s string) (string, error) {
	if s == "host" || s == "none" {
		o.dnsMode = s
		return "", nil
	}
	if _, err := netip.ParseAddr(s); err != nil {
		return "", fmt.Errorf("%q is no IP address: want one, host or none", s)
	}
	return s, nil
}

// word is text that may stand in resolv.conf without starting a line of its own.
func word(s string) (string, error) {
	if s == "" || strings.ContainsAny(s, " \t\r\n\x00") {
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
		if _, err := word(n); err != nil {
			return pods.HostsEntry{}, err
		}
	}
	return pods.HostsEntry{IP: ip, Names: names}, nil
}

func bindValue(volumes *[]bundle.Volume, mounts *[]bundle.Mount) *value {
	return &value{typ: "/SOURCE:/TARGET[:ro]", list: true, set: func(s string) error { return addBind(s, volumes, mounts) }}
}

func addBind(s string, volumes *[]bundle.Volume, mounts *[]bundle.Mount) error {
	v, m, err := bundle.ParseBind(s)
	if err == nil {
		*volumes, *mounts = append(*volumes, v), append(*mounts, m)
	}
	return err
}

// request finishes what the flags mean together.
func (o *podOptions) request(apps []*appOptions, in insecure) (*runtime.Request, error) {
	req := &o.req
	var err error
	if req.Net, err = conf.ParseNet(o.net); err != nil {
		return nil, usageError{err}
	}
	req.NetUnasked = len(o.net) == 0
	req.DNS.Servers = slices.DeleteFunc(req.DNS.Servers, func(s string) bool { return s == "" })
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
	switch o.ipc {
	case "auto", "":
	case "private":
		req.PrivateIPC = true
	case "parent", "host":
		req.HostIPC = true
	default:
		return nil, usagef("--ipc=%s: want auto, private or parent", o.ipc)
	}
	switch o.pid {
	case "pod", "":
	case "host":
		req.HostPID = true
	case "app":
		return nil, usagef("--pid=app: %w", errNotYet)
	default:
		return nil, usagef("--pid=%s: want pod or host", o.pid)
	}
	if req.Pull, err = parsePull(o.pull); err != nil {
		return nil, err
	}
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
	return "", usagef("--pull-policy=%s: want never, new or update", s)
}
