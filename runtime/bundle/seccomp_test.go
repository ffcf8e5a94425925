package bundle

import (
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// allowed reports whether a profile allows a call without conditions.
func allowed(p *specs.LinuxSeccomp, name string) bool {
	return slices.ContainsFunc(p.Syscalls, func(r specs.LinuxSyscall) bool {
		return r.Action == specs.ActAllow && len(r.Args) == 0 && slices.Contains(r.Names, name)
	})
}

func profileOf(t *testing.T, in Input, spec string) (*Filter, *specs.LinuxSeccomp) {
	t.Helper()
	if spec != "" {
		req, ok, err := ParseSeccomp(spec)
		if err != nil || !ok {
			t.Fatalf("%s: %v %v", spec, ok, err)
		}
		in.App.Seccomp = req
	}
	f, err := newFilter(in, capabilities(in).Bounding)
	if err != nil {
		t.Fatal(err)
	}
	if f == nil {
		return nil, nil
	}
	p, err := f.Profile()
	if err != nil {
		t.Fatal(err)
	}
	return f, p
}

func TestSeccompDefault(t *testing.T) {
	_, p := profileOf(t, Input{Identity: root()}, "")
	for call, want := range map[string]bool{
		"read": true, "execve": true, "mount": false, "bpf": false, "keyctl": false, "unshare": false, "open_by_handle_at": false, "reboot": false,
	} {
		if allowed(p, call) != want {
			t.Errorf("%s: allowed is %v", call, !want)
		}
	}
	if p.DefaultAction != specs.ActErrno {
		t.Errorf("default action %s", p.DefaultAction)
	}
	f1, _ := profileOf(t, Input{Identity: root()}, "")
	f2, p2 := profileOf(t, Input{Identity: root(), App: App{Caps: Caps{Add: []string{"CAP_SYS_ADMIN"}}}}, "")
	if f1.Key == f2.Key || !allowed(p2, "mount") {
		t.Error("CAP_SYS_ADMIN does not change the filter")
	}
}

func TestSeccompRequests(t *testing.T) {
	in := Input{Identity: root()}
	_, p := profileOf(t, in, "mode=retain,errno=ENOSYS,read,write,exit_group")
	if !allowed(p, "read") || !allowed(p, "execve") || allowed(p, "openat") || *p.DefaultErrnoRet != 38 {
		t.Errorf("retain: %+v", p)
	}
	_, p = profileOf(t, in, "mode=retain,@rkt/default-whitelist,mount")
	if !allowed(p, "read") || !allowed(p, "mount") || allowed(p, "bpf") {
		t.Error("retain with a group")
	}
	_, p = profileOf(t, in, "mode=remove,ptrace,openat,@docker/default-blacklist")
	if !allowed(p, "read") || allowed(p, "openat") || allowed(p, "mount") {
		t.Error("remove: what is not named must stay refused")
	}
	_, p = profileOf(t, in, "mode=remove,@appc.io/all")
	if len(p.Syscalls) != 0 {
		t.Error("remove all leaves something")
	}
	for _, s := range []string{"unconfined", "mode=retain,@appc.io/all"} {
		if f, _ := profileOf(t, in, s); f != nil {
			t.Errorf("%s: there is a filter", s)
		}
	}
	in.Pod.Insecure.Seccomp = true
	if f, _ := profileOf(t, in, ""); f != nil {
		t.Error("--insecure-options=seccomp: there is a filter")
	}
	for _, s := range []string{"mode=retain", "read", "mode=x,read", "mode=retain,raed", "mode=retain,@nogroup", "mode=retain,errno=EWHAT,read", "mode=retain,foo=bar,read", ""} {
		if req, _, err := ParseSeccomp(s); err == nil {
			t.Errorf("%q: accepted as %+v", s, req)
		}
	}
	if _, ok, err := ParseSeccomp("/etc/profile.json"); ok || err != nil {
		t.Error("a path is not reported as one")
	}
}

func TestSeccompProfileFile(t *testing.T) {
	in := Input{Identity: root(), App: App{Seccomp: SeccompRequest{Profile: []byte(
		`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"},{"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}}]}`)}}}
	_, p := profileOf(t, in, "")
	if !allowed(p, "read") || allowed(p, "mount") {
		t.Errorf("%+v", p)
	}
	for _, bad := range []string{"", "{}", "no json"} {
		f, err := newFilter(Input{App: App{Seccomp: SeccompRequest{Profile: []byte(bad)}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Profile(); err == nil {
			t.Errorf("profile %q accepted", bad)
		}
	}
}

func TestCapabilities(t *testing.T) {
	user := Identity{UID: 1000}
	if c := capabilities(Input{Identity: user}); len(c.Bounding)+len(c.Effective)+len(c.Ambient) != 0 {
		t.Errorf("a plain user has %+v", c)
	}
	if c := capabilities(Input{Identity: user, App: App{NoNewPrivilegesOff: true}}); len(c.Effective) != 0 || len(c.Bounding) != len(defaultCaps) {
		t.Errorf("a user that may run setuid programs has %+v", c)
	}
	for _, name := range []string{"CAP_MKNOD", "CAP_NET_RAW", "CAP_AUDIT_WRITE", "CAP_SYS_CHROOT", "CAP_SYS_ADMIN"} {
		if slices.Contains(capabilities(Input{Identity: root()}).Bounding, name) {
			t.Errorf("root has %s", name)
		}
	}
	all := capabilities(Input{Identity: root(), App: App{Caps: Caps{Remove: must(ParseCaps("all"))}}})
	if len(all.Bounding) != 0 {
		t.Errorf("removed all, left %v", all.Bounding)
	}
	if !slices.IsSorted(knownCaps) || !slices.IsSorted(defaultCaps) || !slices.IsSorted(ulimitNames) || !slices.IsSorted(ipcSysctls) {
		t.Error("a list that is searched by halves is not sorted")
	}
}
