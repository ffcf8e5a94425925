package bundle

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// ErrNoProgram: neither the image nor the user says what to run.
var ErrNoProgram = errors.New("the image names no program")

// args merges the program as rkt and podman do: --exec replaces the entrypoint and drops the image's arguments, which
// were meant for another program; arguments after -- replace the image's.
func args(in Input) ([]string, error) {
	c := in.Image.Config
	entrypoint, cmd := c.Entrypoint, c.Cmd
	if in.App.Exec != "" {
		entrypoint, cmd = []string{in.App.Exec}, nil
	}
	if in.App.Args != nil {
		cmd = in.App.Args
	}
	all := append(append([]string{}, entrypoint...), cmd...)
	if len(all) == 0 || all[0] == "" {
		return nil, fmt.Errorf("%w: say --exec=PROGRAM after the image, or -- PROGRAM ARG", ErrNoProgram)
	}
	return all, checkArgs(all)
}

func checkArgs(args []string) error {
	for _, a := range args {
		if strings.ContainsRune(a, 0) {
			return fmt.Errorf("argument %q holds a NUL byte", clip(a))
		}
	}
	return nil
}

// workingDir is absolute and clean. libcontainer refuses one that leads out of the root.
func workingDir(in Input) (string, error) {
	dir := in.App.WorkingDir
	if dir != "" && !path.IsAbs(dir) {
		return "", fmt.Errorf("working directory %q: want an absolute path", dir)
	}
	if dir == "" {
		dir = in.Image.Config.WorkingDir
	}
	if strings.ContainsRune(dir, 0) {
		return "", fmt.Errorf("working directory %q holds a NUL byte", dir)
	}
	return path.Join("/", dir), nil // an image's relative directory is meant from its root
}
