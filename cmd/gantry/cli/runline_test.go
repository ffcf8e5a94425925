package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/gantryrun/gantry/runtime"
)

// parseLine is what run does with a line, up to the request.
func parseLine(t *testing.T, args ...string) (*runtime.Request, error) {
	t.Helper()
	o := &podOptions{}
	fs := pflag.NewFlagSet("pod", pflag.ContinueOnError)
	o.addFlags(fs)
	line, err := parseRunLine(args, fs, newAppFlags)
	if err != nil {
		return nil, err
	}
	return o.request(line.apps, insecure{})
}

// shape is what a line says of images and their arguments.
type shape struct {
	Image, Name, Exec string
	Args              []string
}

func TestRunLine(t *testing.T) {
	for _, tt := range []struct {
		name string
		line string
		want []shape
	}{
		{"one image", "busybox", []shape{{Image: "docker.io/library/busybox:latest"}}},
		{"pod flags first", "--net=none --hostname h busybox", []shape{{Image: "docker.io/library/busybox:latest"}}},
		{"arguments", "busybox -- sh -c true", []shape{{Image: "docker.io/library/busybox:latest", Args: []string{"sh", "-c", "true"}}}},
		{"empty arguments drop the image's", "busybox --", []shape{{Image: "docker.io/library/busybox:latest", Args: []string{}}}},
		{"arguments that look like ours", "busybox -- --net=host -- --name=x", []shape{
			{Image: "docker.io/library/busybox:latest", Args: []string{"--net=host", "--", "--name=x"}},
		}},
		{"two images", "a --name=one -- x --- b --name two --exec /bin/y", []shape{
			{Image: "docker.io/library/a:latest", Name: "one", Args: []string{"x"}},
			{Image: "docker.io/library/b:latest", Name: "two", Exec: "/bin/y"},
		}},
		{"two images without arguments", "a b", []shape{{Image: "docker.io/library/a:latest"}, {Image: "docker.io/library/b:latest"}}},
		{"--- without --", "a --name=one --- b", []shape{{Image: "docker.io/library/a:latest", Name: "one"}, {Image: "docker.io/library/b:latest"}}},
		{"trailing ---", "a -- x ---", []shape{{Image: "docker.io/library/a:latest", Args: []string{"x"}}}},
		{"flags after ---", "a -- x --- --name=one", []shape{{Image: "docker.io/library/a:latest", Name: "one", Args: []string{"x"}}}},
		{"the issue's line", "docker://127.0.0.1:5000/nginx:1 --name=web -- -g x ---  127.0.0.1:5000/redis:7 --name=cache", []shape{
			{Image: "127.0.0.1:5000/nginx:1", Name: "web", Args: []string{"-g", "x"}},
			{Image: "127.0.0.1:5000/redis:7", Name: "cache"},
		}},
		{"podman's order, one image", "--entrypoint /bin/x -u 0 busybox -- y", []shape{
			{Image: "docker.io/library/busybox:latest", Exec: "/bin/x", Args: []string{"y"}},
		}},
		{"after the image wins", "--entrypoint /bin/x busybox --exec /bin/z", []shape{{Image: "docker.io/library/busybox:latest", Exec: "/bin/z"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := parseLine(t, strings.Fields(tt.line)...)
			if err != nil {
				t.Fatal(err)
			}
			var got []shape
			for _, a := range req.Apps {
				got = append(got, shape{a.Image.String(), a.Name, a.Exec, a.Args})
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestProductionLine is the line of the units that a shop of 4,000 pods had generated for rkt, with OCI images.
func TestProductionLine(t *testing.T) {
	req, err := parseLine(t,
		"--set-env=TEMPLATER_OVERRIDE={\"a\": \"b c\"}", "--set-env=TEMPLATER_OVERRIDE_BASE64="+strings.Repeat("A", 100<<10),
		"--set-env=HOSTNAME=es1", "--set-env=HOST=box7", "--hostname=es1", "--dns=10.1.0.1", "--dns=10.1.0.2", "--dns-search=prod.example",
		"--uuid-file-save=/mnt/sda9/rkt-uuid/prod/es1", "--set-env=DOMAINNAME=prod.example", "--net=bond0:IP=10.2.3.4",
		"--volume=data,kind=host,source=/mnt/sda9/es1/data", "--volume=log,kind=host,source=/mnt/sda9/es1/log,readOnly=false",
		"reg.example/pod-es_go-synapse:12", "reg.example/pod-es_go-nerve:21", "reg.example/pod-es_confd:1",
		"reg.example/pod-es_es:1.7", "--exec", "/usr/local/bin/x", "--mount", "volume=data,target=/var/lib/es", "--", "scheduler", "---")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(req.Apps); n != 4 {
		t.Fatalf("%d apps", n)
	}
	if got := len(req.Env.Set[1].Value); got != 100<<10 {
		t.Errorf("large value has %d bytes", got)
	}
	last := req.Apps[3]
	if diff := cmp.Diff([]string{"scheduler"}, last.Args); diff != "" || last.Exec != "/usr/local/bin/x" || len(last.Mounts) != 1 {
		t.Errorf("last app: %+v %s", last, diff)
	}
	if diff := cmp.Diff([]string{"10.1.0.1", "10.1.0.2"}, req.DNS.Servers); diff != "" {
		t.Error(diff)
	}
	if n := req.Net.Networks; len(n) != 1 || n[0].Name != "bond0" || n[0].Args[0] != [2]string{"IP", "10.2.3.4"} {
		t.Errorf("networks: %+v", n)
	}
}

func TestPodmanSpellings(t *testing.T) {
	t.Setenv("FROM_CALLER", "yes")
	req, err := parseLine(t, "-it", "-e", "A=b", "-eC=d", "-e", "FROM_CALLER", "-v", "/etc:/x:ro", "-p", "8080:80/udp", "--name", "web",
		"--memory=64m", "--read-only", "--cap-drop=ALL", "--cap-add", "chown", "-w/tmp", "nginx", "-e", "E=f")
	if err != nil {
		t.Fatal(err)
	}
	a := req.Apps[0]
	got := []any{req.Name, req.Env.Set, req.Volumes[0].Source, req.Mounts[0].Target, req.Mounts[0].ReadOnly, req.Ports[0].String(),
		a.Resources.Memory, a.ReadOnlyRootfs, a.Caps.Add, len(a.Caps.Remove) > 30, a.WorkingDir, a.Environment[0].String()}
	want := []any{"web", got[1], "/etc", "/x", true, "8080:80/udp", int64(64 << 20), true, []string{"CAP_CHOWN"}, true, "/tmp", "E=f"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := len(req.Env.Set); n != 3 || req.Env.Set[2].String() != "FROM_CALLER=yes" {
		t.Errorf("environment: %v", req.Env.Set)
	}
}

// After an image, a flag that no app has is the pod's.
func TestPodFlagsAfterImage(t *testing.T) {
	req, err := parseLine(t, "--hostname=h1", "a", "--net=host", "--dns", "192.0.2.1", "--exec=/x", "-e", "A=1", "--", "--hostname=h2", "---", "b", "--set-env=B=2", "-d")
	if err != nil {
		t.Fatal(err)
	}
	got := []any{req.Hostname, string(req.Net.Mode), req.DNS.Servers, req.Apps[0].Environment[0].String(), req.Apps[0].Args, len(req.Apps[1].Environment), req.Env.Set[0].String()}
	want := []any{"h1", "host", []string{"192.0.2.1"}, "A=1", []string{"--hostname=h2"}, 0, "B=2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOptionalValue(t *testing.T) {
	for line, want := range map[string]string{
		"--net host busybox": "host", "--net=host busybox": "host", "--net --hostname=x busybox": "", "busybox": "", "--network none busybox": "none",
	} {
		req, err := parseLine(t, strings.Fields(line)...)
		if err != nil || string(req.Net.Mode) != want {
			t.Errorf("%s: mode %q, %v", line, req.Net.Mode, err)
		}
	}
}

func TestRunLineErrors(t *testing.T) {
	profile := t.TempDir() + "/no.json"
	for _, tt := range []struct{ name, line, want string }{
		{"bad pod flag after image", "busybox --hostname=x-", "--hostname: "},
		{"app flag before two images", "--memory=1G a b", "--memory is a flag of an app: write it after the image"},
		{"unknown", "--hostnam=x busybox", "unknown flag --hostnam"},
		{"unknown short", "-Z busybox", "unknown flag -Z"},
		{"no value", "busybox --exec", "--exec needs a value: --exec=PROGRAM"},
		{"value is --", "busybox --exec -- x", "--exec needs a value"},
		{"-- first", "-- x", "-- starts the arguments of an app: write it after the image"},
		{"--- first", "--- x", "there is no image before it"},
		{"arguments twice", "a -- x --- -- y", "has arguments twice"},
		{"bad size", "a --memory=x", `--memory: "x": want a size`},
		{"no memory", "a --memory=1", `--memory: "1": no app starts in 1 bytes: want 4M or more`},
		{"volume of no kind", "--volume=foo a", "--volume: volume foo: kind is missing: want foo,kind=empty"},
		{"bad bool", "a --readonly-rootfs=maybe", `--readonly-rootfs: "maybe": want true or false`},
		{"bad capability", "a --caps-retain=CAP_FLY", `--caps-retain: unknown capability "CAP_FLY"`},
		{"retain and remove", "a --caps-retain=CHOWN --caps-remove=KILL", "leaves --caps-remove nothing to do"},
		{"bad volume", "--volume=x,kind=disk a", `--volume: volume x: kind "disk": want host, empty or tmpfs`},
		{"volume typo", "--volume=x,kind=empty,readonly=true a", "readonly: unknown key"},
		{"mount over proc", "a --mount=volume=x,target=/proc/sys", `"/proc/sys" cannot be mounted over`},
		{"bad dns", "--dns=nowhere a", "is no IP address"},
		{"dns host and address", "--dns=host --dns=1.1.1.1 a", "excludes other name servers"},
		{"bad ipc", "--ipc=x a", "want auto, private, parent, host"},
		{"sysctl of the host", "a --sysctl=kernel.core_pattern=x", "is not a parameter of the pod's namespaces"},
		{"sysctl by path", "a --sysctl=net/../kernel/core_pattern=x", "want NAME=VALUE, NAME with dots"},
		{"syscall typo", "a --seccomp=mode=remove,ptrase", `unknown system call "ptrase"`},
		{"profile missing", "a --seccomp=" + profile, "no such file"},
		{"two on a terminal", "-i a b", "--interactive and --tty are for a pod of one app"},
		{"bad image", "UPPER/x", "parse image reference"},
		{"restart", "a --restart=sometimes", "--restart: restart policy"},
		{"user namespace", "--private-users=perhaps a", "--private-users"},
		{"metadata service", "--mds-register a", "there is no metadata service"},
		{"signature", "a --signature=x", "--signature is for appc images"},
		{"pid of something else", "--pid=apps a", `--pid: "apps": want pod, app, host`},
		{"podman's policy", "a --restart=unless-stoped", "--restart: restart policy"},
		{"empty value", "--pod-name= a", "--pod-name: the value is empty"},
		{"empty value before the image", "--exec= a", "--exec: the value is empty"},
		{"network twice", "--net=a,a x", `--net: network "a" is given twice`},
		{"no port", "--port=x a", `--port: "x": want NAME:[IP:]HOSTPORT`},
		{"podman's mount", "a --mount=type=bind,source=/x,target=/y", "-v /SOURCE:/TARGET[:ro]"},
		{"flavour", "--stage1-name=coreos.com/rkt/stage1-kvm:1.30.0 a", "there are default and chroot"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseLine(t, strings.Fields(tt.line)...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
			if k := kindOf(err); k != kindUsage {
				t.Errorf("kind %s", k)
			}
		})
	}
	if _, err := parseLine(t, ""); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("empty image: %v", err)
	}
	for _, line := range []string{"--mds-register=false a", "--no-overlay=false a", "--private-users=false a", "--stage1-name=default a", "a --restart=no"} {
		if _, err := parseLine(t, strings.Fields(line)...); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestFlagsOfTheManual makes sure that every flag that the manual promises is known, if only to say that it does not work yet.
func TestFlagsOfTheManual(t *testing.T) {
	pod := pflag.NewFlagSet("pod", pflag.ContinueOnError)
	(&podOptions{}).addFlags(pod)
	app, _ := newAppFlags()
	for _, name := range strings.Fields(`net port hostname dns dns-search dns-opt dns-domain hosts-entry volume mount set-env set-env-file
		inherit-env uuid-file-save pod-manifest private-users ipc pid interactive no-overlay label annotation pod-name detach
		stage1-name stage1-path pull-policy mds-register`) {
		if pod.Lookup(name) == nil {
			t.Errorf("pod flag --%s is missing", name)
		}
	}
	for _, name := range strings.Fields(`name exec user group supplementary-gids environment working-dir readonly-rootfs memory cpu
		cpu-shares pids io-weight oom-score-adj caps-retain caps-remove seccomp no-new-privileges unmask mount stdin stdout stderr
		signature restart essential after stop-signal stop-timeout device tmpfs ulimit sysctl user-annotation user-label`) {
		if app.Lookup(name) == nil {
			t.Errorf("app flag --%s is missing", name)
		}
	}
}

func FuzzRunLine(f *testing.F) {
	f.Add("--net=none busybox -- sh --- b --name x")
	f.Add("-it -e A=b -v /a:/b --")
	f.Fuzz(func(t *testing.T, line string) {
		o := &podOptions{}
		fs := pflag.NewFlagSet("pod", pflag.ContinueOnError)
		o.addFlags(fs)
		args := strings.Fields(line)
		for _, a := range args {
			if strings.Contains(a, "file") || strings.Contains(a, "seccomp") {
				t.Skip("would read a file of the fuzzer's choice")
			}
		}
		parsed, err := parseRunLine(args, fs, newAppFlags)
		if err == nil {
			_, _ = o.request(parsed.apps, insecure{})
		}
	})
}
