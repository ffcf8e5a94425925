package bundle

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Hook is the configuration of a hook of the app that in describes and of which built was made: all is the app's but the program and
// the user. A hook runs as root, with the capabilities that the app would have as root: what prepares for an app that is somebody
// else has to give files away.
func Hook(in Input, built *Result, exec []string) (*Result, error) {
	if err := checkArgs(exec); err != nil {
		return nil, err
	}
	in.Identity = Identity{Name: "root", Home: "/root"}
	caps := capabilities(in)
	filter, err := newFilter(in, caps.Bounding)
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	spec, process, linux := *built.Spec, *built.Spec.Process, *built.Spec.Linux
	process.Args, process.Env, process.Terminal = exec, environment(in), false
	process.User = specs.User{}
	if process.Capabilities = caps; in.Pod.Chroot {
		process.Capabilities, filter = nil, nil // as for the app: see openUp
	}
	spec.Process, spec.Linux = &process, &linux
	return &Result{Spec: &spec, Seccomp: filter}, nil
}
