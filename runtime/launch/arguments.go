package launch

import (
	"fmt"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// The kernel's bounds of what execve takes (execve(2), "Limits on size of arguments and environment").
const (
	maxString    = 32*4096 - 1 // bytes of one argument or variable
	minArguments = 128 << 10   // of all, with their pointers, however small the stack
	maxArguments = 6 << 20     // of all, however large the stack
)

// checkArguments refuses what the kernel would refuse when gantry-init is to be executed: at that time nobody but the app's streams
// can be told, and the failure would look like the app's.
func checkArguments(p *libcontainer.Process) error {
	total := len(p.Args[0]) + 1 // the program's name, once more
	for _, list := range [][]string{p.Args, p.Env} {
		for _, s := range list {
			if len(s) > maxString {
				return fmt.Errorf("environment or arguments too large: one of %d bytes, of which the kernel takes %d", len(s), maxString)
			}
			const pointer = 8
			total += len(s) + 1 + pointer
		}
	}
	limit, err := argumentLimit(p)
	if err != nil {
		return err
	}
	if total > limit {
		return fmt.Errorf("environment or arguments too large: %d bytes, of which the kernel takes %d", total, limit)
	}
	return nil
}

// argumentLimit is a quarter of the stack that p may have, within bounds.
func argumentLimit(p *libcontainer.Process) (int, error) {
	var stack unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_STACK, &stack); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	for _, l := range p.Rlimits {
		if l.Type == unix.RLIMIT_STACK {
			stack.Cur = l.Soft
		}
	}
	return int(max(minArguments, min(maxArguments, stack.Cur/4))), nil
}
