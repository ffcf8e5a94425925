package bundle

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// must unwraps a parser's result: what tests write is right.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func testPod() Pod {
	return Pod{UUID: "11111111-2222-4333-8444-555555555555", Path: "/var/lib/gantry/pods/11111111-2222-4333-8444-555555555555"}
}

func root() Identity { return Identity{Name: "root", Home: "/root"} }

// goldenCases are whole inputs; testdata/<name>.json is the configuration that each becomes.
func goldenCases() map[string]Input {
	nginx := ocispec.Image{Config: ocispec.ImageConfig{
		Entrypoint: []string{"/docker-entrypoint.sh"}, Cmd: []string{"nginx", "-g", "daemon off;"},
		Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "NGINX_VERSION=1.27"}, StopSignal: "SIGQUIT",
	}}
	postgres := ocispec.Image{Config: ocispec.ImageConfig{
		Entrypoint: []string{"docker-entrypoint.sh"}, Cmd: []string{"postgres"}, User: "postgres", WorkingDir: "/var/lib/postgresql",
		Volumes: map[string]struct{}{"/var/lib/postgresql/data": {}, "/../../etc": {}, "/proc": {}},
	}}
	limits := App{
		Name: "limits", Exec: "/bin/app", Args: []string{"-x"}, WorkingDir: "/srv", ReadOnlyRootfs: true,
		Environment: []EnvVar{{"A", "app"}, {"PATH", "/bin"}},
		Caps:        Caps{Add: must(ParseCaps("sys_time,CAP_NET_ADMIN")), Remove: must(ParseCaps("KILL"))},
		Resources: Resources{Memory: must(ParseBytes("512Mi")), CPU: must(ParseCPU("1.5")), CPUShares: 512, PIDs: 10, IOWeight: 200,
			OOMScoreAdj: must(ParseOOMScoreAdj("-5"))},
		Ulimits: []Ulimit{must(ParseUlimit("nofile=1024:4096")), must(ParseUlimit("core=unlimited"))},
		Sysctls: []Sysctl{must(ParseSysctl("net.core.somaxconn=1024")), must(ParseSysctl("kernel.shmmax=65536"))},
		Unmask:  []string{must(ParseUnmask("/proc/kallsyms")), must(ParseUnmask("/proc/sys"))},
		Tmpfs:   []Tmpfs{must(ParseTmpfs("/scratch:size=1m,mode=700"))},
		Mounts:  []Mount{must(ParseMount("volume=data,target=/data/deep")), must(ParseMount("volume=mem,target=/mem"))},
		Devices: []Device{{Source: "/dev/fuse", Target: "/dev/fuse", Access: "rw", Type: "c", Major: 10, Minor: 229, Mode: 0o666}},
	}
	pod := testPod()
	pod.Volumes = []Volume{
		must(ParseVolume("data,kind=host,source=/srv/data,readOnly=true")),
		must(ParseVolume("shared,kind=empty,mode=0770,uid=5")),
		must(ParseVolume("mem,kind=tmpfs,size=1Mi,mode=0700,uid=7,gid=8")),
	}
	pod.Mounts = []Mount{must(ParseMount("volume=shared,target=/data"))}
	pod.Env = Environment{Inherited: []EnvVar{{"A", "parent"}, {"B", "parent"}}, Files: []EnvVar{{"B", "file"}, {"C", "file"}}, Set: []EnvVar{{"C", "set"}}}
	host := testPod()
	host.HostNet, host.HostPID, host.HostIPC = true, true, true
	host.Insecure = Insecure{Capabilities: true, Seccomp: true, Paths: true}
	return map[string]Input{
		"nginx":    {Pod: testPod(), App: App{Name: "web"}, Image: nginx, Identity: root()},
		"postgres": {Pod: testPod(), App: App{Name: "db"}, Image: postgres, Identity: Identity{UID: 999, GID: 999, Groups: []uint32{101}, Name: "postgres", Home: "/var/lib/postgresql"}},
		"limits":   {Pod: pod, App: limits, Image: nginx, Identity: root()},
		"insecure": {Pod: host, App: App{Name: "agent", NoNewPrivilegesOff: true}, Image: nginx, Identity: root()},
		"ambient":  {Pod: testPod(), App: App{Name: "dns", Caps: Caps{Retain: must(ParseCaps("NET_ADMIN"))}}, Image: nginx, Identity: Identity{UID: 1000, GID: 1000, Home: "/"}},
	}
}

func TestGolden(t *testing.T) {
	for name, in := range goldenCases() {
		t.Run(name, func(t *testing.T) {
			r, err := Build(in)
			if err != nil {
				t.Fatal(err)
			}
			var quick, whole any
			if err := errors.Join(json.Unmarshal(must(r.Encode()), &quick), json.Unmarshal(must(json.Marshal(r.Spec)), &whole)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(whole, quick); diff != "" {
				t.Errorf("Encode and encoding/json differ: %s", diff)
			}
			got := must(json.MarshalIndent(struct {
				Spec    any      `json:"spec"`
				Volumes []Volume `json:"volumes"`
				Seccomp bool     `json:"seccomp"`
			}{r.Spec, r.Volumes, r.Seccomp != nil}, "", "  "))
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProgram(t *testing.T) {
	image := func(entrypoint, cmd []string) ocispec.Image {
		return ocispec.Image{Config: ocispec.ImageConfig{Entrypoint: entrypoint, Cmd: cmd}}
	}
	for _, tt := range []struct {
		name  string
		image ocispec.Image
		app   App
		want  string
	}{
		{"entrypoint and cmd", image([]string{"e"}, []string{"c"}), App{}, "e c"},
		{"args replace cmd", image([]string{"e"}, []string{"c"}), App{Args: []string{"x", "y"}}, "e x y"},
		{"empty args drop cmd", image([]string{"e"}, []string{"c"}), App{Args: []string{}}, "e"},
		{"exec drops cmd", image([]string{"e"}, []string{"c"}), App{Exec: "/x"}, "/x"},
		{"exec and args", image([]string{"e"}, []string{"c"}), App{Exec: "/x", Args: []string{"a"}}, "/x a"},
		{"cmd alone", image(nil, []string{"c", "d"}), App{}, "c d"},
		{"args alone", image(nil, []string{"c"}), App{Args: []string{"sh"}}, "sh"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := args(Input{Image: tt.image, App: tt.app})
			if err != nil || strings.Join(got, " ") != tt.want {
				t.Errorf("got %q %v, want %q", got, err, tt.want)
			}
		})
	}
	for name, in := range map[string]Input{"nothing": {}, "empty name": {Image: image([]string{""}, nil)}} {
		if _, err := args(in); !errors.Is(err, ErrNoProgram) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := args(Input{App: App{Exec: "/x", Args: []string{"a\x00b"}}}); err == nil {
		t.Error("an argument with NUL was accepted")
	}
}

func TestWorkingDir(t *testing.T) {
	for _, tt := range []struct{ flag, image, want string }{
		{"", "", "/"}, {"", "/srv", "/srv"}, {"", "srv", "/srv"}, {"/x", "/srv", "/x"}, {"", "/proc/self/fd/7/../../..", "/proc"},
	} {
		in := Input{App: App{WorkingDir: tt.flag}, Image: ocispec.Image{Config: ocispec.ImageConfig{WorkingDir: tt.image}}}
		if got, err := workingDir(in); err != nil || got != tt.want {
			t.Errorf("%+v: %q %v", tt, got, err)
		}
	}
	if _, err := workingDir(Input{App: App{WorkingDir: "x"}}); err == nil {
		t.Error("a relative --working-dir was accepted")
	}
}

// TestImageLoosensNothing: whatever an image says of itself, its app is as confined as a plain one (ATTACKS F10).
func TestImageLoosensNothing(t *testing.T) {
	plain := Input{Pod: testPod(), App: App{Name: "a", Exec: "/x"}, Identity: root()}
	hostile := plain
	hostile.Image.Config = ocispec.ImageConfig{
		Labels: map[string]string{"gantry.caps": "all", "systemd.slice": "x", "io.gantry.seccomp": "unconfined"},
		Env:    []string{"GANTRY_POD=other", "NOTIFY_SOCKET=/x", "A=b\nCapEff: all", "=x", "novalue", "LD_PRELOAD=/x.so"},
	}
	a, b := must(Build(plain)), must(Build(hostile))
	b.Spec.Process.Env = a.Spec.Process.Env
	if diff := cmp.Diff(a.Spec, b.Spec); diff != "" {
		t.Error(diff)
	}
	if a.Seccomp.Key != b.Seccomp.Key {
		t.Error("the filter differs")
	}
	env := strings.Join(must(Build(hostile)).Spec.Process.Env, "\x00")
	if !strings.Contains(env, "GANTRY_POD="+plain.Pod.UUID) || strings.Contains(env, "novalue") {
		t.Errorf("environment: %q", env)
	}
}
