package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// SeccompRequest is what --seccomp asks for. The zero value is the default profile.
type SeccompRequest struct {
	Unconfined bool
	Profile    []byte // a JSON profile, in Docker's format or the runtime specification's
	Retain     []string
	Remove     []string
	Within     []string // the default without all but these
	Errno      uint     // what a refused call returns; 0 is EPERM
	Kill       bool     // what Retain, Remove or Within refuse ends the process with SIGSYS
}

// IsDefault reports whether nothing but the default profile was asked for.
func (r SeccompRequest) IsDefault() bool {
	return !r.Unconfined && r.Profile == nil && r.Errno == 0 && len(r.Retain)+len(r.Remove)+len(r.Within) == 0
}

// profileVersion is part of every key: change it with anything below, or with the version of moby/profiles, that
// changes what comes out.
const profileVersion = "moby-0.2.4/3"

// Filter is a seccomp profile that is yet to be made.
type Filter struct {
	// Key names the profile by all that it depends on, so that a cached one can be used without making it.
	Key  string
	req  SeccompRequest
	caps []string
}

// newFilter decides whether there is a filter at all. caps decides too: a call that is allowed only to, say,
// CAP_SYS_ADMIN is not in the filter of an app without it.
func newFilter(in Input, caps []string) (*Filter, error) {
	req := in.App.Seccomp
	if req.Unconfined || in.Pod.Insecure.Seccomp {
		return nil, nil
	}
	release, err := kernelRelease()
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %s %q %q %q %q %d %t %q", profileVersion, runtime.GOARCH, release,
		req.Profile, req.Retain, req.Remove, req.Within, req.Errno, req.Kill, caps)
	sum := h.Sum(nil)
	return &Filter{Key: hex.EncodeToString(sum[:16]), req: req, caps: caps}, nil
}

// kernelRelease is the one thing that the profile depends on and the request does not say.
func kernelRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("ask for the kernel's release: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

// Profile makes the profile: 0.5 ms, and 40 kB of JSON.
func (f *Filter) Profile() (*specs.LinuxSeccomp, error) {
	spec := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: f.caps}}}
	if f.req.Profile != nil {
		p, err := seccomp.LoadProfile(string(f.req.Profile), spec)
		if err == nil && p == nil {
			err = fmt.Errorf("the profile is empty")
		}
		return p, err
	}
	p, err := seccomp.GetDefaultProfile(spec)
	if err != nil {
		return nil, fmt.Errorf("make default profile: %w", err)
	}
	refuseTyping(p)
	if f.req.Errno != 0 {
		p.DefaultErrnoRet = &f.req.Errno
	}
	switch {
	case len(f.req.Retain) > 0:
		retain(p, f.req.Retain)
	case len(f.req.Within) > 0:
		within(p, f.req.Within)
	case len(f.req.Remove) > 0:
		remove(p, f.req.Remove)
	}
	if f.req.Kill {
		kill(p, f.req.Remove)
	}
	return p, nil
}

// groups are rkt's names for what is the default profile here. In retain they bring its rules, with their conditions;
// the black lists are what it refuses anyway.
var (
	whitelists = []string{"@rkt/default-whitelist", "@docker/default-whitelist", "@default"}
	blacklists = []string{"@rkt/default-blacklist", "@docker/default-blacklist"}
)

const (
	groupAll   = "@appc.io/all"
	groupEmpty = "@appc.io/empty"
)

// retain keeps the default profile's rules only where a white list is named, and adds the calls that are.
func retain(p *specs.LinuxSeccomp, names []string) {
	if !slices.ContainsFunc(names, func(n string) bool { return slices.Contains(whitelists, n) }) {
		p.Syscalls = nil
	}
	calls := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.HasPrefix(n, "@") })
	if len(calls) > 0 {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: append(calls, tacit...), Action: specs.ActAllow})
	}
}

// tacit are the calls that no list of what is retained has to name: systemd let them pass, who made rkt's filters, and no app starts without execve.
var tacit = []string{
	"execve", "exit", "exit_group", "getrlimit", "rt_sigreturn", "sigreturn", "clock_gettime", "clock_nanosleep", "gettimeofday", "nanosleep", "time",
}

// remove takes calls away from the default profile. (rkt allowed everything else then: a list of a few calls to forbid opened
// all the others. Whoever wants that says a profile of his own.)
func remove(p *specs.LinuxSeccomp, names []string) {
	for i := range p.Syscalls {
		rule := &p.Syscalls[i]
		rule.Names = slices.DeleteFunc(slices.Clone(rule.Names), func(n string) bool {
			return rule.Action == specs.ActAllow && slices.Contains(names, n)
		})
	}
	p.Syscalls = slices.DeleteFunc(p.Syscalls, func(r specs.LinuxSyscall) bool { return len(r.Names) == 0 })
}

// within keeps of the default profile's rules what names has, with their conditions.
func within(p *specs.LinuxSeccomp, names []string) {
	for i := range p.Syscalls {
		rule := &p.Syscalls[i]
		rule.Names = slices.DeleteFunc(slices.Clone(rule.Names), func(n string) bool { return !slices.Contains(names, n) && !slices.Contains(tacit, n) })
	}
	p.Syscalls = slices.DeleteFunc(p.Syscalls, func(r specs.LinuxSyscall) bool { return len(r.Names) == 0 })
}

// kill ends the process at a call that is refused: at those of removed, or, where the profile is a list of what is left, at any other.
func kill(p *specs.LinuxSeccomp, removed []string) {
	calls := slices.DeleteFunc(slices.Clone(removed), func(n string) bool { return strings.HasPrefix(n, "@") })
	if len(removed) > 0 {
		if len(calls) > 0 {
			p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: calls, Action: specs.ActKillProcess})
		}
		return
	}
	p.DefaultAction, p.DefaultErrnoRet = specs.ActKillProcess, nil
}

// ParseSeccomp parses "unconfined", "default", or rkt's mode=retain|remove[,errno=NAME],@GROUP|SYSCALL,…. A path of a
// profile is the caller's to read: it is reported by ok being false.
func ParseSeccomp(s string) (req SeccompRequest, ok bool, err error) {
	switch {
	case s == "unconfined":
		return SeccompRequest{Unconfined: true}, true, nil
	case s == "default":
		return SeccompRequest{}, true, nil
	case strings.HasPrefix(s, "/") || strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".json"):
		return req, false, nil
	}
	var mode string
	var names []string
	for item := range strings.SplitSeq(s, ",") {
		key, value, pair := strings.Cut(item, "=")
		switch {
		case pair && key == "mode":
			mode = value
		case pair && key == "errno":
			req.Errno, err = ParseErrno(value)
		case pair:
			err = fmt.Errorf("unknown key %q: want mode= or errno=", key)
		default:
			err = CheckSyscall(item)
			names = append(names, item)
		}
		if err != nil {
			return req, true, err
		}
	}
	return withMode(req, mode, names)
}

func withMode(req SeccompRequest, mode string, names []string) (SeccompRequest, bool, error) {
	switch {
	case len(names) == 0:
		return req, true, fmt.Errorf("no system call named: want mode=retain|remove,SYSCALL,…, unconfined, or the path of a profile")
	case mode == "retain" && slices.Contains(names, groupAll):
		return SeccompRequest{Unconfined: true}, true, nil
	case mode == "retain":
		req.Retain = names
	case mode == "remove" && slices.Contains(names, groupAll):
		req.Retain = []string{groupEmpty}
	case mode == "remove":
		req.Remove = names
	default:
		return req, true, fmt.Errorf("mode %q: want retain or remove", mode)
	}
	return req, true, nil
}

// ParseErrno parses the name of an errno, or its number.
func ParseErrno(s string) (uint, error) {
	if n, err := strconv.ParseUint(s, 10, 12); err == nil && n > 0 {
		return uint(n), nil
	}
	for n := range 134 { // the largest of Linux is EHWPOISON, 133
		if s != "" && unix.ErrnoName(unix.Errno(n)) == s {
			return uint(n), nil
		}
	}
	return 0, fmt.Errorf("unknown errno %q: want a name such as EPERM, or a number", clip(s))
}

// refusedCalls are those that the default profile names for nobody or only with a capability: with the profile's own they are all that
// can be asked for. A name that is in neither is a spelling mistake, and silently ignored would be a hole.
var refusedCalls = strings.Fields(`_sysctl acct add_key afs_syscall bdflush bpf break clock_adjtime clock_settime clone clone3
 create_module delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick ftime get_kernel_syms
 get_mempolicy getpmsg gtty init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp
 kexec_file_load kexec_load keyctl lock lookup_dcookie mbind migrate_pages modify_ldt mount mount_setattr move_mount
 move_pages mpx name_to_handle_at nfsservctl nice open_by_handle_at open_tree perf_event_open personality pivot_root
 pkey_mprotect process_madvise process_mrelease process_vm_readv process_vm_writev prof profil ptrace putpmsg
 query_module quotactl quotactl_fd reboot request_key security set_mempolicy set_mempolicy_home_node setdomainname
 sethostname setns settimeofday sgetmask socket socketcall ssetmask stime stty swapoff swapon sysfs syslog tuxcall ulimit
 umount umount2 unshare uselib userfaultfd ustat vhangup vm86 vm86old vserver chroot`)

// CheckSyscall refuses what is no name of a system call, or of a group of them.
func CheckSyscall(name string) error {
	if strings.HasPrefix(name, "@") {
		if slices.Contains(whitelists, name) || slices.Contains(blacklists, name) || name == groupAll || name == groupEmpty {
			return nil
		}
		return fmt.Errorf("unknown group %q: want one of %s", clip(name), strings.Join(slices.Concat(whitelists, blacklists, []string{groupAll, groupEmpty}), " "))
	}
	if slices.Contains(refusedCalls, name) {
		return nil
	}
	for _, rule := range seccomp.DefaultProfile().Syscalls {
		if slices.Contains(rule.Names, name) {
			return nil
		}
	}
	return fmt.Errorf("unknown system call %q", clip(name))
}
