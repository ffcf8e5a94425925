package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// RestartApp has the supervisor of a running pod stop the app and start it again, and returns when its program has been executed.
func (r *Runtime) RestartApp(ctx context.Context, pod *pods.Pod, app string) error {
	if _, err := chooseApps(pod, []string{app}); err != nil {
		return err
	}
	return r.control(ctx, pod, &pods.ControlRequest{Verb: pods.ControlRestart, App: app})
}

// reach connects to the pod's supervisor.
func reach(ctx context.Context, pod *pods.Pod) (*net.UnixConn, error) {
	state, err := pod.State()
	if err != nil {
		return nil, err
	}
	if state != pods.Running {
		return nil, stateErrorf("pod %s is %s, not running", pod.UUID, state)
	}
	run, err := pod.Run()
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(run.RunDir, pods.ControlFile))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, stateErrorf("the supervisor of pod %s takes no requests: it is ending, or is of an older version", pod.UUID)
	}
	if err != nil {
		return nil, fmt.Errorf("reach the supervisor of pod %s: %w", pod.UUID, err)
	}
	return conn.(*net.UnixConn), nil
}

func askFor(conn *net.UnixConn, req *pods.ControlRequest) error {
	req.Version = pods.Version
	data, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if _, err := conn.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("ask the supervisor: %w", err)
	}
	return nil
}

// control asks the pod's supervisor for something, and waits for it.
func (r *Runtime) control(ctx context.Context, pod *pods.Pod, req *pods.ControlRequest) error {
	conn, err := reach(ctx, pod)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer watchUndead(ctx, pod, r.Warn)()
	if err := askFor(conn, req); err != nil {
		return err
	}
	reply := pods.ControlReply{}
	err = json.NewDecoder(io.LimitReader(conn, maxReply)).Decode(&reply)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET): // the second where nobody took the request
		return stateErrorf("pod %s ended before it was done", pod.UUID)
	case err != nil:
		return fmt.Errorf("hear from the supervisor of pod %s: %w", pod.UUID, err)
	case reply.Error != "":
		return errors.New(reply.Error)
	}
	return nil
}

// damagedSupervisor opens the process of a supervisor whose run.json says nothing: who answers at its socket.
func damagedSupervisor(pod *pods.Pod, damage error) (*process, error) {
	p, err := peer(filepath.Join(runDirs, pod.UUID, pods.ControlFile))
	if err != nil {
		return nil, fmt.Errorf("%w; its supervisor cannot be asked (%w): kill the process gantry-stage1 that has %s in its arguments, then run gantry gc",
			damage, err, pod.UUID)
	}
	return p, nil
}

// runDirs is where supervisors have their run directories, by UUID.
const runDirs = "/run/gantry/pods"

// peer opens the process that listens at a unix socket.
func peer(path string) (*process, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return nil, err
	}
	if credErr != nil {
		return nil, credErr
	}
	start, err := pods.ProcessStart(int(cred.Pid))
	if err != nil {
		return nil, err
	}
	return openProcess(int(cred.Pid), start)
}

// maxReply bounds what is read of a supervisor's reply.
const maxReply = 64 << 10
