package runtime

import (
	"context"
	"errors"
	"fmt"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/pods"
)

// Errors that callers branch on.
var (
	// ErrRequest: what was asked for makes no sense, whatever the state of the host.
	ErrRequest = errors.New("invalid request")
	// ErrState: the pod is not in a state in which this can be done.
	ErrState = errors.New("the pod is in another state")
	// ErrProgram: a program of gantry's own is missing.
	ErrProgram = errors.New("program not found")
)

// stateError is an ErrState that says in its own words which state.
type stateError string

func (e stateError) Error() string        { return string(e) }
func (e stateError) Is(target error) bool { return target == ErrState }

// requestError is an ErrRequest that says in its own words why.
type requestError struct{ error }

func (e requestError) Unwrap() error        { return e.error }
func (e requestError) Is(target error) bool { return target == ErrRequest }

func requestErrorf(format string, args ...any) error {
	return requestError{fmt.Errorf(format, args...)}
}

func stateErrorf(format string, args ...any) error { return stateError(fmt.Sprintf(format, args...)) }

// Runtime is stage0 for one data directory. It holds nothing open.
type Runtime struct {
	Dir      string // absolute
	Store    *image.Store
	Networks conf.Source
	Programs Programs
	Stage1   string // flavour of pods that ask for none; empty: pods.Stage1Default
	// Fetch brings an image into the store. signature is a file with that of an ACI, empty: where it lies usually. nil: only what is
	// there already can be used.
	Fetch func(ctx context.Context, ref image.Ref, signature string) error
	// Trust says whether a stored image may be used under the name it was asked for by. nil: every image may.
	Trust func(ctx context.Context, ref image.Ref, img *image.Image) error
	// JSON: what stage1 says to the user are lines of JSON (--log-format=json).
	JSON bool
	// Leave is called last before the process becomes another program; its error keeps it from that. nil: nothing is in the way.
	Leave func() error
	// Warn tells the user something that is no error. nil: nobody listens.
	Warn func(format string, args ...any)
}

// Pods are the pods of the data directory.
func (r *Runtime) Pods() *pods.Store { return pods.In(r.Dir) }

func (r *Runtime) leave() error {
	if r.Leave == nil {
		return nil
	}
	return r.Leave()
}

func (r *Runtime) warn(format string, args ...any) {
	if r.Warn != nil {
		r.Warn(format, args...)
	}
}
