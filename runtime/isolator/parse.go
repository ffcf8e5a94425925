package isolator

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gantryrun/gantry/image/appc"
	"github.com/gantryrun/gantry/image/strictjson"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// ErrUnenforceable: the isolator is known, and nothing here can hold an app to it.
var ErrUnenforceable = errors.New("gantry cannot enforce it")

// Set is what a list of isolators says. Zero: nothing.
type Set struct {
	Memory          int64  // bytes
	CPU             int64  // thousandths of a core
	CPUShares       uint64 // weight
	OOMScoreAdj     *int
	NoNewPrivileges *bool
	Capabilities    *Names
	Seccomp         *Names
	Sysctls         []bundle.Sysctl
	// Unknown are names that appc 0.8 does not have. The spec lets an executor go on without, and wants the user told.
	Unknown []string
}

// Names is a set of names to retain, or to remove.
type Names struct {
	Retain bool
	Set    []string
	Errno  uint // of a seccomp set; 0: the process is killed
}

const (
	retain = "-retain-set"
	remove = "-remove-set"
)

// unenforceable are those that need what gantry does not do.
var unenforceable = []string{
	"resource/block-bandwidth", "resource/block-iops", "resource/network-bandwidth", "os/linux/selinux-context", "os/linux/apparmor-profile",
}

// Parse reads a list of isolators. Its errors name the isolator.
func Parse(list []appc.Isolator) (*Set, error) {
	s := &Set{}
	seen := map[string]bool{}
	for _, i := range list {
		if seen[i.Name] {
			return nil, fmt.Errorf("isolator %s: given twice", i.Name)
		}
		seen[i.Name] = true
		if err := s.add(i); err != nil {
			return nil, fmt.Errorf("isolator %s: %w", i.Name, err)
		}
	}
	return s, nil
}

func (s *Set) add(i appc.Isolator) (err error) {
	decode := func(into any) error { return strictjson.Decode(i.Value, into) }
	switch name := i.Name; {
	case name == "resource/memory":
		s.Memory, err = limit(i.Value, 1)
		if err == nil && s.Memory != 0 && s.Memory < bundle.MinMemory {
			err = fmt.Errorf("no app starts in %d bytes", s.Memory)
		}
	case name == "resource/cpu":
		s.CPU, err = limit(i.Value, 1000)
		if err == nil && s.CPU != 0 && s.CPU < bundle.MinCPU {
			err = fmt.Errorf("%dm is less than the kernel takes, %dm", s.CPU, bundle.MinCPU)
		}
	case name == "os/linux/cpu-shares":
		if err = decode(&s.CPUShares); err == nil && (s.CPUShares < 2 || s.CPUShares > 262144) {
			err = fmt.Errorf("%d: want 2 to 262144", s.CPUShares)
		}
	case name == "os/linux/oom-score-adj":
		s.OOMScoreAdj = new(int)
		if err = decode(s.OOMScoreAdj); err == nil && (*s.OOMScoreAdj < -1000 || *s.OOMScoreAdj > 1000) {
			err = fmt.Errorf("%d: want -1000 to 1000", *s.OOMScoreAdj)
		}
	case name == "os/linux/no-new-privileges":
		s.NoNewPrivileges = new(bool)
		err = decode(s.NoNewPrivileges)
	case strings.HasPrefix(name, "os/linux/capabilities-") && isSet(name):
		s.Capabilities, err = names(s.Capabilities, i, parseCap)
	case strings.HasPrefix(name, "os/linux/seccomp-") && isSet(name):
		s.Seccomp, err = names(s.Seccomp, i, bundle.CheckSyscall)
	case name == "os/unix/sysctl":
		s.Sysctls, err = sysctls(i)
	case slices.Contains(unenforceable, name):
		err = ErrUnenforceable
	default:
		s.Unknown = append(s.Unknown, name)
	}
	return err
}

func isSet(name string) bool {
	return strings.HasSuffix(name, retain) || strings.HasSuffix(name, remove)
}

func parseCap(name string) error {
	caps, err := bundle.ParseCaps(name)
	if err == nil && (len(caps) != 1 || caps[0] != name) { // "all", or without CAP_: no names of appc
		err = fmt.Errorf("unknown capability %q", name)
	}
	return err
}

// names reads a retain or remove set; before is the other one, with which it cannot be (spec, ace.md).
func names(before *Names, i appc.Isolator, check func(string) error) (*Names, error) {
	if before != nil {
		return nil, errors.New("one set to retain and one to remove: the spec has one of them")
	}
	var v struct {
		Set   []string `json:"set"`
		Errno string   `json:"errno"`
	}
	if err := strictjson.Decode(i.Value, &v); err != nil {
		return nil, err
	}
	n := &Names{Retain: strings.HasSuffix(i.Name, retain), Set: v.Set}
	if len(v.Set) == 0 {
		return nil, errors.New("its set is empty")
	}
	for _, name := range v.Set {
		if err := check(name); err != nil {
			return nil, err
		}
	}
	if v.Errno == "" {
		return n, nil
	}
	var err error
	n.Errno, err = bundle.ParseErrno(v.Errno)
	return n, err
}

func sysctls(i appc.Isolator) ([]bundle.Sysctl, error) {
	var v map[string]string
	if err := strictjson.Decode(i.Value, &v); err != nil {
		return nil, err
	}
	var list []bundle.Sysctl
	for name, value := range v {
		s, err := bundle.ParseSysctl(name + "=" + value)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}
