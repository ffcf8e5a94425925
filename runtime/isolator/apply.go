package isolator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gantryrun/gantry/runtime/bundle"
)

// defaultShares is the weight that the kernel gives to who asks for none.
const defaultShares = 1024

// Tighten applies the isolators of an image to an app. What the user said of the same matter stays as he said it, and nothing is given that
// the app would not have had without them: refused says what that was.
func (s *Set) Tighten(a *bundle.App) (refused []string) {
	within := *s
	if s.CPUShares > defaultShares && a.Resources.CPUShares == 0 {
		refused = append(refused, fmt.Sprintf("a CPU weight of %d (--cpu-shares)", s.CPUShares))
		within.CPUShares = 0
	}
	within.limits(a)
	if n := s.OOMScoreAdj; n != nil && a.Resources.OOMScoreAdj == nil {
		if *n < 0 {
			refused = append(refused, fmt.Sprintf("an OOM score of %d (--oom-score-adj)", *n))
		} else {
			a.Resources.OOMScoreAdj = n
		}
	}
	if c := s.Capabilities; c != nil && a.Caps.Empty() {
		more := c.tightenCaps(&a.Caps)
		if len(more) > 0 {
			refused = append(refused, strings.Join(more, ",")+" (--cap-add)")
		}
	}
	if c := s.Seccomp; c != nil && a.Seccomp.IsDefault() {
		c.tightenSeccomp(&a.Seccomp)
	}
	if len(s.Sysctls) > 0 {
		refused = append(refused, "sysctls (--sysctl)")
	}
	return refused
}

// limits are what an image and a pod manifest may say alike.
func (s *Set) limits(a *bundle.App) {
	r := &a.Resources
	r.Memory, r.CPU, r.CPUShares = cmp.Or(r.Memory, s.Memory), cmp.Or(r.CPU, s.CPU), cmp.Or(r.CPUShares, s.CPUShares)
}

func (n *Names) tightenCaps(c *bundle.Caps) (more []string) {
	if !n.Retain {
		c.Remove = n.Set
		return nil
	}
	for _, name := range bundle.DefaultCaps() {
		if !slices.Contains(n.Set, name) {
			c.Remove = append(c.Remove, name)
		}
	}
	for _, name := range n.Set {
		if !slices.Contains(bundle.DefaultCaps(), name) {
			more = append(more, name)
		}
	}
	return more
}

// What appc calls every system call, and none.
const (
	all   = "@appc.io/all"
	empty = "@appc.io/empty"
)

func (n *Names) tightenSeccomp(req *bundle.SeccompRequest) {
	switch {
	case n.Retain && slices.ContainsFunc(n.Set, isWider), !n.Retain && slices.Contains(n.Set, empty):
		return // it asks for the default, or for less than it
	case n.Retain:
		req.Within = slices.Concat(lifeCycle, n.Set)
	default:
		req.Remove = n.Set
	}
	req.Errno, req.Kill = n.Errno, n.Errno == 0
}

// isWider is for names that stand for the default profile, or more.
func isWider(name string) bool {
	return name == all || strings.HasSuffix(name, "/default-whitelist") || name == "@default"
}

// lifeCycle is what no app can do without: to be executed, to end, and to return from a signal (ace.md: "the minimum set of syscalls
// required for app life-cycle").
var lifeCycle = []string{"execve", "exit", "exit_group", "rt_sigreturn"}

// Grant applies the isolators of a pod manifest, which is its user's word, to an app of it.
func (s *Set) Grant(a *bundle.App) {
	s.limits(a)
	if s.OOMScoreAdj != nil {
		a.Resources.OOMScoreAdj = s.OOMScoreAdj
	}
	if s.NoNewPrivileges != nil {
		a.NoNewPrivileges, a.NoNewPrivilegesOff = *s.NoNewPrivileges, !*s.NoNewPrivileges
	}
	if c := s.Capabilities; c != nil {
		if c.Retain {
			a.Caps = bundle.Caps{Retain: c.Set}
		} else {
			a.Caps = bundle.Caps{Remove: c.Set}
		}
	}
	a.Sysctls = append(a.Sysctls, s.Sysctls...)
	c := s.Seccomp
	switch {
	case c == nil:
		return
	case c.Retain && slices.Contains(c.Set, all), !c.Retain && slices.Contains(c.Set, empty):
		a.Seccomp = bundle.SeccompRequest{Unconfined: true}
		return
	case c.Retain:
		a.Seccomp.Retain = slices.Concat(lifeCycle, c.Set)
	default:
		a.Seccomp.Remove = c.Set
	}
	a.Seccomp.Errno, a.Seccomp.Kill = c.Errno, c.Errno == 0
}
