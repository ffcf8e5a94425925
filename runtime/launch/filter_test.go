package launch_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// profile writes the profile that stage0 uses, as it uses it.
func (p *pod) profile(edit func(*specs.LinuxSeccomp)) *pods.Seccomp {
	p.t.Helper()
	profile, err := seccomp.GetDefaultProfile(defaultSpec(nil))
	p.must(err)
	if edit != nil {
		edit(profile)
	}
	data, err := json.Marshal(profile)
	p.must(err)
	files := &pods.Seccomp{Profile: filepath.Join(p.dir, "profile.json"), Program: filepath.Join(p.dir, "profile.bpf")}
	p.must(os.WriteFile(files.Profile, data, 0o600))
	return files
}

func TestSeccomp(t *testing.T) {
	p := newPod(t)
	profile := p.profile(nil)
	run := func(t *testing.T) {
		t.Helper()
		app := p.app("app", nil, "grep", "-E", "Seccomp|NoNew", "/proc/self/status")
		app.Seccomp = profile
		want := "NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"
		if code, out := p.runApp(app); out != want {
			t.Errorf("got exit code %d and %q", code, out)
		}
	}
	run(t)
	good, err := os.ReadFile(profile.Program)
	p.must(err)
	flipped := slices.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for name, data := range map[string][]byte{
		"good":              good,
		"empty":             {},
		"cut short":         good[:len(good)-8],
		"only a trailer":    good[len(good)-40:],
		"one bit":           flipped,
		"something else":    []byte(strings.Repeat("x", 4096)),
		"a bare filter":     good[:len(good)-40],
		"too long, and bad": make([]byte, 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			p.must(os.WriteFile(profile.Program, data, 0o600))
			run(t)
			// No two filters are alike: libcontainer walks through Go maps.
			if now, err := os.ReadFile(profile.Program); err != nil || len(now) != len(good) || slices.Equal(now, data) != (name == "good") {
				t.Errorf("the cache was not mended (%v)", err)
			}
		})
	}
	t.Run("two apps at once, and no cache", func(t *testing.T) {
		for range 5 {
			p.must(os.Remove(profile.Program))
			one, two := p.app("one", nil, "true"), p.app("two", nil, "true")
			one.Seccomp, two.Seccomp = profile, profile
			for _, a := range p.start(nil, one, two) {
				if a.Error != "" {
					t.Error(a.Error)
				} else if code := p.wait(a.PID); code != 0 {
					t.Errorf("got exit code %d", code)
				}
			}
		}
	})
	t.Run("another profile", func(t *testing.T) {
		p.profile(func(s *specs.LinuxSeccomp) { s.Syscalls = s.Syscalls[:len(s.Syscalls)-1] })
		p.must(os.WriteFile(profile.Program, good, 0o600))
		app := p.app("app", nil, "true")
		app.Seccomp = profile
		p.runApp(app)
		if now, err := os.ReadFile(profile.Program); err != nil || slices.Equal(now, good) {
			t.Errorf("the filter of another profile was used (%v)", err)
		}
	})
	t.Run("a profile that allows nothing", func(t *testing.T) {
		p.profile(func(s *specs.LinuxSeccomp) { s.Syscalls = s.Syscalls[1:] })
		app := p.app("app", nil, "true")
		app.Seccomp = profile
		if code, out := p.runApp(app); code != 128+int(unix.SIGILL) { // gantry-init cannot even exit
			t.Errorf("got exit code %d and %q", code, out)
		}
	})
	t.Run("new privileges", func(t *testing.T) {
		app := p.app("app", func(s *specs.Spec) { s.Process.NoNewPrivileges = false }, "true")
		app.Seccomp = profile
		if code, out := p.runApp(app); code != 254 || !strings.Contains(out, "no_new_privileges") {
			t.Errorf("got exit code %d and %q", code, out)
		}
	})
}

// TestSameFilter: what the cache holds decides every system call as what libcontainer installs by itself.
func TestSameFilter(t *testing.T) {
	p := newPod(t)
	cached := p.app("cached", nil, "sleep", "1000")
	cached.Seccomp = p.profile(nil)
	data, err := os.ReadFile(cached.Seccomp.Profile)
	p.must(err)
	direct := p.app("direct", func(s *specs.Spec) {
		s.Linux.Seccomp = &specs.LinuxSeccomp{}
		p.must(json.Unmarshal(data, s.Linux.Seccomp))
	}, "sleep", "1000")
	answers := p.start(nil, cached, direct)
	var filters [2][]unix.SockFilter
	for i, a := range answers {
		if a.Error != "" {
			t.Fatal(a.Error)
		}
		var err error
		if filters[i], err = installed(a.PID); errors.Is(err, unix.EIO) || errors.Is(err, unix.EACCES) {
			t.Skipf("skipped: this kernel does not show filters: %v", err)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	const x32 = 1 << 30
	decisions := map[uint32]int{}
	for _, arch := range []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_AARCH64} {
		for number := range uint32(700) {
			for _, mode := range []uint32{0, x32} {
				for _, arg := range []uint64{0, 1, 38, 40, 1 << 28, ^uint64(0)} { // families, flags of clone(2)
					data := [8]uint64{uint64(arch)<<32 | uint64(number|mode), 0, arg, arg, arg, arg, arg, arg}
					one, two := decide(t, filters[0], data), decide(t, filters[1], data)
					if decisions[one]++; one != two {
						t.Fatalf("call %d of %#x with %d: %#x, libcontainer %#x", number|mode, arch, arg, one, two)
					}
				}
			}
		}
	}
	if len(decisions) < 3 {
		t.Errorf("the filter knows only %d answers", len(decisions))
	}
}

// decide runs a filter over struct seccomp_data, as the kernel would.
func decide(t *testing.T, filter []unix.SockFilter, data [8]uint64) uint32 {
	t.Helper()
	var a uint32
	for pc := 0; pc < len(filter); pc++ {
		in := filter[pc]
		jump := false
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = uint32(data[in.K/8] >> (in.K % 8 * 8))
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= in.K
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump = a == in.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			jump = a > in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump = a >= in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			jump = a&in.K != 0
		default:
			t.Fatalf("instruction %#x", in.Code)
		}
		if jump {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	t.Fatal("no decision")
	return 0
}

// installed reads the newest filter of a process.
func installed(pid int) ([]unix.SockFilter, error) {
	const getFilter = 0x420c // PTRACE_SECCOMP_GET_FILTER
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.PtraceAttach(pid); err != nil {
		return nil, err
	}
	defer unix.PtraceDetach(pid)
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		return nil, err
	}
	n, _, errno := unix.Syscall6(unix.SYS_PTRACE, getFilter, uintptr(pid), 0, 0, 0, 0)
	if errno != 0 {
		return nil, errno
	}
	filter := make([]unix.SockFilter, n)
	_, _, errno = unix.Syscall6(unix.SYS_PTRACE, getFilter, uintptr(pid), 0, uintptr(unsafe.Pointer(&filter[0])), 0, 0)
	if errno != 0 {
		return nil, errno
	}
	return filter, nil
}
