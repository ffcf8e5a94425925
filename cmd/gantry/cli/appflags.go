package cli

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// appOptions are the flags after an image.
type appOptions struct {
	// complete is an app that a pod manifest of appc describes; nil: what follows does.
	complete *runtime.AppRequest

	image string
	args  []string // after --; nil: none were given

	req         runtime.AppRequest
	volumes     []bundle.Volume // that -v defines
	stopTimeout time.Duration
}

func newAppFlags() (*pflag.FlagSet, *appOptions) {
	fs, o := pflag.NewFlagSet("app", pflag.ContinueOnError), &appOptions{}
	o.addFlags(fs)
	return fs, o
}

func (o *appOptions) addFlags(fs *pflag.FlagSet) {
	a := &o.req
	fs.StringVar(&a.Name, "name", "", "`NAME` of the app (default: from the image's name)")
	fs.StringVar(&a.Exec, "exec", "", "`PROGRAM` to run instead of the image's entrypoint")
	alias(fs, "entrypoint", "", "exec")
	fs.StringVar(&a.User, "user", "", "`USER`: a number, a name in the image, or /PATH in the image whose owner it is")
	alias(fs, "", "u", "user")
	fs.StringVar(&a.Group, "group", "", "`GROUP`, in the same forms")
	listsVar(fs, &a.SupplementaryGIDs, "supplementary-gids", "GID,...", "more groups", parseGIDs)
	alias(fs, "group-add", "", "supplementary-gids")
	listVar(fs, &a.Environment, "environment", "NAME=VALUE", "environment variable of this app", parseEnvOrOwn)
	alias(fs, "env", "e", "environment")
	fs.StringVar(&a.WorkingDir, "working-dir", "", "`DIR` to start in")
	alias(fs, "workdir", "w", "working-dir")
	listVar(fs, &a.After, "after", "APP", "start after this app, and stop before it", appName)
	listVar(fs, &a.Mounts, "mount", "volume=NAME,target=PATH", "mount a volume of the pod", bundle.ParseMount)
	fs.VarP(bindValue(&o.volumes, &a.Mounts), "bind", "v", "host volume and mount in one")
	listVar(fs, &a.Tmpfs, "tmpfs", "PATH[:size=N,...]", "memory file system", bundle.ParseTmpfs)
	listVar(fs, &a.Sockets, "socket", "NAME", "socket of the unit that runs the pod, by its FileDescriptorName=: the app finds it as sd_listen_fds does", socketName)
	listVar(fs, &a.Devices, "device", "/dev/X[:/dev/Y][:rwm]", "device of the host", bundle.ParseDevice)
	mapVar(fs, &a.Labels, "user-label", "label of the app")
	mapVar(fs, &a.Annotations, "user-annotation", "annotation of the app")
	alias(fs, "annotation", "", "user-annotation")
	o.addLimitFlags(fs)
	o.addSecurityFlags(fs)
	o.addLifeFlags(fs)
}

func (o *appOptions) addLimitFlags(fs *pflag.FlagSet) {
	r := &o.req.Resources
	oneVar(fs, &r.Memory, "memory", "SIZE", "limit of memory: 512M, 1Gi", bundle.ParseMemory)
	alias(fs, "", "m", "memory")
	oneVar(fs, &r.CPU, "cpu", "CORES", "limit of CPU time: 1.5 or 1500m", bundle.ParseCPU)
	alias(fs, "cpus", "", "cpu")
	oneVar(fs, &r.CPUShares, "cpu-shares", "N", "weight of CPU time, 2 to 262144", bundle.ParseCPUShares)
	oneVar(fs, &r.PIDs, "pids", "N", fmt.Sprintf("limit of processes and threads (default %d; -1: none)", bundle.DefaultPIDs), bundle.ParsePIDs)
	alias(fs, "pids-limit", "", "pids")
	oneVar(fs, &r.IOWeight, "io-weight", "N", "weight of disk time, 10 to 1000", bundle.ParseIOWeight)
	alias(fs, "blkio-weight", "", "io-weight")
	oneVar(fs, &r.OOMScoreAdj, "oom-score-adj", "N", "-1000 to 1000", bundle.ParseOOMScoreAdj)
	alias(fs, "oom-score-adjust", "", "oom-score-adj")
	listVar(fs, &o.req.Ulimits, "ulimit", "NAME=SOFT[:HARD]", "resource limit of the process", bundle.ParseUlimit)
	listVar(fs, &o.req.Sysctls, "sysctl", "NAME=VALUE", "kernel parameter of the pod's namespaces", bundle.ParseSysctl)
}

func (o *appOptions) addSecurityFlags(fs *pflag.FlagSet) {
	a := &o.req
	fs.BoolVar(&a.ReadOnlyRootfs, "readonly-rootfs", false, "the root file system cannot be written")
	alias(fs, "read-only", "", "readonly-rootfs")
	fs.AddFlag(&pflag.Flag{
		Name: "no-new-privileges", Usage: "setuid programs gain nothing", DefValue: "true", NoOptDefVal: "true",
		Value: &value{typ: "bool", bool: true, set: func(s string) error {
			on, err := strconv.ParseBool(s)
			a.NoNewPrivileges, a.NoNewPrivilegesOff = on, !on
			return err
		}},
	})
	listsVar(fs, &a.Caps.Retain, "caps-retain", "CAP,...", "keep exactly these capabilities", bundle.ParseCaps)
	listsVar(fs, &a.Caps.Remove, "caps-remove", "CAP,...", "the default capabilities without these", bundle.ParseCaps)
	listsVar(fs, &a.Caps.Add, "cap-add", "CAP,...", "the default capabilities and these", bundle.ParseCaps)
	alias(fs, "cap-retain", "", "caps-retain")
	alias(fs, "cap-remove", "", "caps-remove")
	alias(fs, "cap-drop", "", "caps-remove")
	oneVar(fs, &a.Seccomp, "seccomp", "SPEC", "mode=retain|remove,errno=E,@GROUP|SYSCALL,...; the path of a JSON profile; default; unconfined", parseSeccomp)
	listVar(fs, &a.Unmask, "unmask", "PATH", "leave this path of /proc or /sys visible and writable, or all", bundle.ParseUnmask)
}

func (o *appOptions) addLifeFlags(fs *pflag.FlagSet) {
	a := &o.req
	oneVar(fs, &a.StopSignal, "stop-signal", "SIGNAL", "signal that asks the app to end (default: the image's, else SIGTERM)", bundle.ParseSignal)
	oneVar(fs, &o.stopTimeout, "stop-timeout", "DURATION", "from the stop signal to SIGKILL, a second at least (default 10s)", func(s string) (time.Duration, error) {
		d, err := parseDuration(s)
		return max(d, time.Second), err
	})
	oneVar(fs, &a.Ready, "ready", "HOW", "when the app is ready, for --after and the pod's readiness: notify (sd_notify), tcp:PORT, http:PORT[/PATH] or exec:COMMAND; default: when it runs", parseReady)
	fs.BoolVar(&a.Watchdog, "watchdog", false, "WatchdogSec= of the unit is about this app too: it says WATCHDOG=1 to $NOTIFY_SOCKET in time, or the unit is killed")
	fs.BoolVar(&a.Essential, "essential", true, "the pod ends when this app fails, and is over when all essential apps have ended")
	out := parseStream(pods.StreamInherit, pods.StreamLog, pods.StreamStream, pods.StreamTTY, pods.StreamJournal, pods.StreamNull)
	oneVar(fs, &a.Stdin, "stdin", "MODE", "inherit (or interactive), stream (for attach), tty or null", parseStream(pods.StreamInherit, pods.StreamStream, pods.StreamTTY, pods.StreamNull))
	oneVar(fs, &a.Stdout, "stdout", "MODE", "inherit, log, stream (log and attach only), tty, journal (journald's own socket) or null", out)
	oneVar(fs, &a.Stderr, "stderr", "MODE", "inherit, log, stream, tty, journal or null", out)
	oneVar(fs, &a.Restart, "restart", "POLICY", "start the app again, in its pod, when it has ended: no, on-failure[:N] or always", parseRestart)
	oneVar(fs, &a.Hooks.Image, "hooks", "run|skip", "the hooks of an appc image, which run as root (default run; to be said with a --user who is not)", parseHooksFlag)
	fs.StringVar(&a.Signature, "signature", "", "`FILE` with the OpenPGP signature of an ACI, instead of the one beside it")
}

// parseStream accepts modes, and rkt's word for the caller's stdin.
func parseStream(modes ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if s == "interactive" {
			s = pods.StreamInherit
		}
		if slices.Contains(modes, s) {
			return s, nil
		}
		return "", fmt.Errorf("%q: want %s", s, strings.Join(modes, ", "))
	}
}

// terminal makes of one stream that is a terminal three: a process has one.
func (o *appOptions) terminal() error {
	streams := []*string{&o.req.Stdin, &o.req.Stdout, &o.req.Stderr}
	if !slices.ContainsFunc(streams, func(s *string) bool { return *s == pods.StreamTTY }) {
		return nil
	}
	for _, s := range streams {
		if *s != "" && *s != pods.StreamTTY {
			return usagef("--stdin, --stdout and --stderr: all are tty, or none: an app has one terminal")
		}
		*s = pods.StreamTTY
	}
	return nil
}

// parseRestart leaves "no" out of app.json: it is the default. What podman does not restart after it was stopped is over here.
func parseRestart(s string) (string, error) {
	switch s {
	case "no":
		s = ""
	case "unless-stopped":
		s = "always"
	}
	_, err := pods.ParseRestart(s)
	return s, err
}

func parseHooksFlag(s string) (string, error) {
	if s != runtime.HooksRun && s != runtime.HooksSkip {
		return "", fmt.Errorf("%q: want run or skip", s)
	}
	return s, nil
}

func parseReady(s string) (string, error) {
	_, err := pods.ParseReady(s)
	return s, err
}

func appName(s string) (string, error) { return s, pods.CheckAppName(s) }

func socketName(s string) (string, error) { return s, pods.CheckSocketName(s) }

func parseGIDs(s string) ([]uint32, error) {
	var gids []uint32
	for part := range strings.SplitSeq(s, ",") {
		gid, err := bundle.ParseID(part)
		if err != nil {
			return nil, err
		}
		gids = append(gids, gid)
	}
	return gids, nil
}

// parseSeccomp reads the profile where a path is given.
func parseSeccomp(s string) (bundle.SeccompRequest, error) {
	req, ok, err := bundle.ParseSeccomp(s)
	if err != nil || ok {
		return req, err
	}
	req.Profile, err = os.ReadFile(s)
	return req, err
}

// request finishes what the flags mean, and adds the volumes that -v defined to the pod's.
func (o *appOptions) request(pod *runtime.Request) (runtime.AppRequest, error) {
	if o.complete != nil {
		return *o.complete, nil
	}
	if err := o.terminal(); err != nil {
		return o.req, err
	}
	a := o.req
	var err error
	if a.Image, err = image.ParseRef(o.image); err != nil {
		return a, usageError{err}
	}
	if k := a.Image.Kind; a.Signature != "" && k != image.ACI && k != image.File {
		return a, usagef("--signature is for appc images: the signatures of others are where they come from")
	}
	if len(a.Caps.Retain) > 0 && len(a.Caps.Remove) > 0 {
		return a, usagef("--caps-retain names exactly what is kept: it leaves --caps-remove nothing to do")
	}
	if err := a.Caps.Check(); err != nil {
		return a, usagef("--cap-add, --caps-remove: %w", err)
	}
	a.Args = o.args
	if o.stopTimeout > 0 {
		a.StopTimeout = int(o.stopTimeout / time.Second)
	}
	pod.Volumes = append(pod.Volumes, o.volumes...)
	return a, nil
}
