// Command gantry-stage1 is the supervisor of one pod. gantry becomes it by exec; nobody calls it by hand.
//
//	gantry-stage1 run [--log-format=json] [--detached | --hybrid --launcher=PID] PODDIR
//	                                         descriptors: 3 pod directory, 4 life lock, 5 ready pipe (--detached), 6 socket of the launcher,
//	                                         7 hidden cgroup2 (--hybrid), 8... sockets of the unit (package pods has them all)
//	gantry-stage1 kill PODDIR                descriptors: 3 pod directory, 4 life lock; started by a reaper
//	gantry-stage1 undo PODDIR [PLUGIN...]    descriptors: 3 pod directory; the network plugins are those to succeed without
//	gantry-stage1 check-network DIR          stdin: audit.Request, stdout: audit.Report
//	gantry-stage1 collect-network DIR        stdin: audit.Request
//	gantry-stage1 probe-network              exit code 0: this kernel has what the built-in networks need
//	gantry-stage1 reset-network [--sysctls]  no pod is left: rules go and, if asked, forwarding is what it was before
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/network"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/pods/report"
	"github.com/gantryrun/gantry/stage1"
)

func main() {
	args := os.Args[1:]
	say := report.Reporter{To: os.Stderr, Verb: "run", JSON: slices.Contains(args[:len(args)-min(len(args), 1)], report.JSONFlag)} // the last is a path
	if say.JSON {
		args = slices.DeleteFunc(args, func(a string) bool { return a == report.JSONFlag })
	}
	code, err := run(args, say)
	if err != nil {
		say.Fail(code, err)
	}
	os.Exit(code)
}

func run(args []string, say report.Reporter) (int, error) {
	switch {
	case len(args) >= 2 && args[0] == "run":
		return supervise(args[1:len(args)-1], args[len(args)-1], say)
	case len(args) == 2 && args[0] == "kill":
		dir, err := inherit(pods.DirFD)
		if err == nil {
			err = stage1.Kill(dir, args[1])
		}
		if err != nil {
			return stage1.ExitInternal, err
		}
		return 0, nil
	case len(args) >= 2 && args[0] == "undo":
		dir, err := inherit(pods.DirFD)
		if err == nil {
			err = stage1.Sweep(context.Background(), dir, args[1], args[2:]...)
		}
		if err != nil {
			return stage1.ExitInternal, err
		}
		return 0, nil
	case len(args) == 2 && args[0] == "check-network":
		if err := stage1.CheckNetwork(context.Background(), args[1], os.Stdin, os.Stdout); err != nil {
			return stage1.ExitInternal, err
		}
		return 0, nil
	case len(args) == 2 && args[0] == "collect-network":
		if err := stage1.CollectNetwork(context.Background(), args[1], os.Stdin); err != nil {
			return stage1.ExitInternal, err
		}
		return 0, nil
	case len(args) == 1 && args[0] == "probe-network":
		if err := network.Probe(); err != nil {
			return stage1.ExitInternal, err
		}
		return 0, nil
	case len(args) >= 1 && args[0] == "reset-network":
		if err := stage1.ResetNetwork(slices.Contains(args, "--sysctls")); err != nil {
			return stage1.ExitInternal, err
		}
		return 0, nil
	}
	return stage1.ExitInternal, errors.New("gantry-stage1 is started by gantry: use gantry run")
}

func supervise(flags []string, path string, say report.Reporter) (int, error) {
	programs, err := findPrograms()
	if err != nil {
		return stage1.ExitInternal, err
	}
	opts := stage1.Options{Path: path, Programs: programs, Warn: say.Warn}
	if opts.Dir, err = inherit(pods.DirFD); err != nil {
		return stage1.ExitInternal, err
	}
	// Not as the user wrote it: libcontainer wants a root file system without symbolic links on its way.
	if opts.Path, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", pods.DirFD)); err != nil {
		return stage1.ExitInternal, err
	}
	if opts.Lock, err = inherit(pods.LockFD); err != nil {
		return stage1.ExitInternal, err
	}
	for _, flag := range flags {
		name, value, _ := strings.Cut(flag, "=")
		switch name {
		case "--detached":
			opts.Detached = true
			opts.Ready, err = inherit(pods.ReadyFD)
		case "--hybrid":
			opts.Hybrid, err = inherit(pods.HybridFD)
		case "--launcher":
			if opts.LauncherPID, err = strconv.Atoi(value); err == nil {
				opts.Launcher, err = inherit(pods.LauncherFD)
			}
		default:
			err = fmt.Errorf("unknown flag %q: gantry and gantry-stage1 are of two versions", flag)
		}
		if err != nil {
			return stage1.ExitInternal, err
		}
	}
	names, err := pods.PassedSockets()
	if err != nil {
		return stage1.ExitInternal, err
	}
	for i, name := range names {
		f, err := inherit(pods.SocketsFD + i)
		if err != nil {
			return stage1.ExitInternal, err
		}
		opts.Sockets = append(opts.Sockets, stage1.Socket{Name: name, File: f})
	}
	return stage1.Run(context.Background(), opts)
}

// inherit takes over a descriptor, and keeps it from everything that is started from here.
func inherit(fd int) (*os.File, error) {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return nil, fmt.Errorf("descriptor %d was not handed over: use gantry run", fd)
	}
	return os.NewFile(uintptr(fd), fmt.Sprintf("fd%d", fd)), nil
}

// findPrograms looks beside this program.
func findPrograms() (stage1.Programs, error) {
	self, err := os.Executable()
	if err != nil {
		return stage1.Programs{}, err
	}
	dir := filepath.Dir(self)
	return stage1.Programs{Launch: filepath.Join(dir, "gantry-launch"), Init: filepath.Join(dir, "gantry-init")}, nil
}
