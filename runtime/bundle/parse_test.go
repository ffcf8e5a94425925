package bundle

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseBytes(t *testing.T) {
	for s, want := range map[string]int64{
		"1": 1, "512": 512, "1K": 1000, "1Ki": 1024, "1k": 1024, "64M": 64e6, "64Mi": 64 << 20, "64m": 64 << 20, "1.5Gi": 3 << 29, "2T": 2e12, "5B": 5, "3MB": 3e6,
	} {
		if got, err := ParseBytes(s); err != nil || got != want {
			t.Errorf("%s: %d %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0", "-1", "M", "1X", "1e9", "0x10", "1 M", "NaN", "Inf", "99999999999T", "+5"} {
		if got, err := ParseBytes(s); err == nil {
			t.Errorf("%q: accepted as %d", s, got)
		}
	}
}

func TestParseCPU(t *testing.T) {
	for s, want := range map[string]int64{"1": 1000, "500m": 500, "0.5": 500, "1.5": 1500, "10m": 10} {
		if got, err := ParseCPU(s); err != nil || got != want {
			t.Errorf("%s: %d %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0", "m", "5m", "-1", "x", "1e3", "NaN"} {
		if got, err := ParseCPU(s); err == nil {
			t.Errorf("%q: accepted as %d", s, got)
		}
	}
}

func TestParseVolume(t *testing.T) {
	for s, want := range map[string]Volume{
		"data,kind=host,source=/srv/../srv/x/":                     {Name: "data", Kind: KindHost, Source: "/srv/x"},
		"data,kind=host,source=/srv,readOnly=true,recursive=false": {Name: "data", Kind: KindHost, Source: "/srv", ReadOnly: true, NonRecursive: true},
		"e,kind=empty,mode=0750,uid=1,gid=2":                       {Name: "e", Kind: KindEmpty, Mode: 0o750, UID: 1, GID: 2},
		"t,kind=tmpfs,size=1Mi":                                    {Name: "t", Kind: KindTmpfs, Size: 1 << 20},
	} {
		if got, err := ParseVolume(s); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %+v %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", "data", "data,", "data,kind=disk", "data,kind=host", "data,kind=host,source=rel", "data,kind=empty,source=/x",
		"data,kind=host,source=/x,mode=0755", "data,kind=empty,size=1M", "../x,kind=empty", "data,kind=empty,kind=empty",
		"data,kind=empty,mode=4755", "data,kind=empty,uid=4294967295", "data,kind=empty,readOnly=perhaps",
	} {
		if got, err := ParseVolume(s); err == nil {
			t.Errorf("%q: accepted as %+v", s, got)
		}
	}
}

func TestCapsApply(t *testing.T) {
	base, all := []string{"CAP_CHOWN", "CAP_KILL"}, must(ParseCaps("all"))
	for _, c := range []struct {
		name string
		caps Caps
		want []string
	}{
		{"drop all, add one of the default", Caps{Remove: all, Add: []string{"CAP_KILL"}}, []string{"CAP_KILL"}},
		{"drop one, add one", Caps{Remove: []string{"CAP_CHOWN"}, Add: []string{"CAP_BPF"}}, []string{"CAP_BPF", "CAP_KILL"}},
		{"add all, drop some", Caps{Remove: all[1:], Add: all}, all[:1]},
		{"retain and add", Caps{Retain: []string{"CAP_BPF"}, Add: []string{"CAP_KILL"}}, []string{"CAP_BPF", "CAP_KILL"}},
	} {
		if got := c.caps.apply(base); !slices.Equal(got, c.want) || c.caps.Check() != nil {
			t.Errorf("%s: %v (%v), want %v", c.name, got, c.caps.Check(), c.want)
		}
	}
	for _, c := range []Caps{{Remove: all, Add: all}, {Remove: base, Add: base}} {
		if c.Check() == nil {
			t.Errorf("%v: want an error", c)
		}
	}
}

func TestParseMountAndBind(t *testing.T) {
	if m, err := ParseMount("volume=a,target=/x/../y,readOnly=true"); err != nil || m != (Mount{"a", "/y", true}) {
		t.Errorf("%+v %v", m, err)
	}
	if m, err := ParseMount("volume=a,target=../../x"); err != nil || m.Target != "/x" {
		t.Errorf("relative to the app's root: %+v, %v", m, err)
	}
	for _, s := range []string{"", "volume=a", "volume=a,target=", "volume=a,target=..", "target=/x", "volume=a,target=/", "volume=a,target=/proc", "volume=a,target=/proc/x", "volume=a,target=/..", "volume=a,target=/x,foo=1"} {
		if m, err := ParseMount(s); err == nil {
			t.Errorf("%q: accepted as %+v", s, m)
		}
	}
	v, m, err := ParseBind("/srv/Data:/data:ro")
	if err != nil || v != (Volume{Name: "bind-srv-data", Kind: KindHost, Source: "/srv/Data"}) || m != (Mount{"bind-srv-data", "/data", true}) {
		t.Errorf("%+v %+v %v", v, m, err)
	}
	for _, s := range []string{"", "/a", "a:/b", "/a:b", "/a:/b:ro:x", "/a:/b:exec", "/a:/proc"} {
		if _, _, err := ParseBind(s); err == nil {
			t.Errorf("%q accepted", s)
		}
	}
}

func TestParseDevice(t *testing.T) {
	for s, want := range map[string]Device{
		"/dev/fuse":            {Source: "/dev/fuse", Target: "/dev/fuse", Access: "rw"},
		"/dev/fuse:rwm":        {Source: "/dev/fuse", Target: "/dev/fuse", Access: "rwm"},
		"/dev/sda:/dev/disk:r": {Source: "/dev/sda", Target: "/dev/disk", Access: "r"},
	} {
		if got, err := ParseDevice(s); err != nil || got != want {
			t.Errorf("%s: %+v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "/etc/passwd", "/dev/../etc/x", "/dev/a:/etc/b", "/dev/a:x", "/dev/a:/dev/b:rw:x"} {
		if _, err := ParseDevice(s); err == nil {
			t.Errorf("%q accepted", s)
		}
	}
}

func TestParseSmall(t *testing.T) {
	if u, err := ParseUlimit("nofile=10:unlimited"); err != nil || u != (Ulimit{"nofile", 10, 1<<64 - 1}) {
		t.Errorf("%+v %v", u, err)
	}
	for _, s := range []string{"nofile", "nofiles=1", "nofile=x", "nofile=10:5", "nofile="} {
		if _, err := ParseUlimit(s); err == nil {
			t.Errorf("ulimit %q accepted", s)
		}
	}
	for s, want := range map[string]string{"TERM": "SIGTERM", "SIGQUIT": "SIGQUIT", "9": "SIGKILL", "sigrtmin+3": "SIGRTMIN+3"} {
		if got, err := ParseSignal(s); err != nil || got != want {
			t.Errorf("signal %s: %s %v", s, got, err)
		}
	}
	for _, s := range []string{"", "0", "99", "SIGFOO", "SIGRTMIN+99"} {
		if got, err := ParseSignal(s); err == nil {
			t.Errorf("signal %q accepted as %s", s, got)
		}
	}
	if got, _ := StopSignal("", "SIGNONSENSE"); got != "SIGTERM" {
		t.Errorf("stop signal of a strange image: %s", got)
	}
	vars, err := ParseEnvFile([]byte("# c\n; d\n\nA=1\r\nB=x=y\n"))
	if diff := cmp.Diff([]EnvVar{{"A", "1"}, {"B", "x=y"}}, vars); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if _, err := ParseEnvFile([]byte("A=1\nnope\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("bad file: %v", err)
	}
	if got := InheritedEnv([]string{"A=1", "NOTIFY_SOCKET=/x", "LISTEN_FDS=3"}); len(got) != 1 {
		t.Errorf("inherited: %v", got)
	}
}

func TestParseTmpfs(t *testing.T) {
	for _, s := range []string{"/x", "/x:size=64m", "/x:size=1048576,mode=0700,uid=7,gid=8", "/x:size=50%", "/x:nr_inodes=10k,ro,noexec", "/x:size=1G"} {
		if _, err := ParseTmpfs(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{"", "x", "/", "/proc/x", "/x:", "/x:size", "/x:size=", "/x:size=x", "/x:size=-1", "/x:size=1mm", "/x:size=64Mi", "/x:ro=1", "/x:mode=rwx", "/x:uid=1k", "/x:zz"} {
		if got, err := ParseTmpfs(s); err == nil {
			t.Errorf("%s: accepted as %+v", s, got)
		}
	}
}
