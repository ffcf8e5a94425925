package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	goruntime "runtime"
	"slices"
	"sync"
	"time"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/pods"
)

// GCOptions of GC. The zero value removes everything that is over, and every pod that was prepared and not run.
type GCOptions struct {
	Grace          time.Duration // how long an exited pod stays, for those who ask how it ended
	ExpirePrepared time.Duration // how long a prepared pod waits to be run
	MarkOnly       bool          // undo what dead supervisors left, and remove nothing
	DryRun         bool          // only say what would be removed
	SkipPlugins    []string      // types of network plugins that need not succeed in taking a pod's network down: their program is gone
}

// GCReport is what GC did.
type GCReport struct {
	Removed []string       `json:"removed"` // UUIDs
	Kept    int            `json:"kept"`
	Images  image.GCReport `json:"images"`
}

// GC removes pods whose time has come, what killed commands left, and mounts of images that no live pod stands on. A pod
// that cannot be removed keeps no other from it: the errors come together, and the next GC tries again.
func (r *Runtime) GC(ctx context.Context, opts GCOptions) (*GCReport, error) {
	uuids, err := r.Pods().UUIDs()
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	report := &GCReport{Removed: []string{}}
	var errs []error
	var wg sync.WaitGroup
	// Deleting waits for the disk, undoing for the kernel: a few more than there are processors.
	workers := min(len(uuids), 4*goruntime.GOMAXPROCS(0))
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(uuids) && ctx.Err() == nil; i += workers {
				removed, err := r.collect(ctx, uuids[i], opts)
				mu.Lock()
				switch {
				case removed:
					report.Removed = append(report.Removed, uuids[i])
				default:
					report.Kept++
				}
				if err != nil {
					errs = append(errs, err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(report.Removed)
	if !opts.DryRun {
		errs = append(errs, r.Pods().Sweep())
	}
	if !opts.MarkOnly {
		report.Images, err = r.Store.GC(ctx, image.GCOptions{Keep: r.usedImages, InUse: r.standingImages, Grace: opts.Grace, DryRun: opts.DryRun})
		errs = append(errs, err)
	}
	if !opts.DryRun {
		errs = append(errs, r.collectNetworks(ctx))
	}
	if report.Kept == 0 && !opts.DryRun && !opts.MarkOnly {
		errs = append(errs, r.resetNetwork(ctx))
	}
	return report, errors.Join(append(errs, ctx.Err())...)
}

// collect looks at one pod.
func (r *Runtime) collect(ctx context.Context, uuid string, opts GCOptions) (removed bool, err error) {
	pod, err := r.Pods().Open(uuid)
	if errors.Is(err, pods.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer pod.Close()
	state, err := pod.State()
	if err != nil || state.Live() || state == pods.Preparing {
		return false, err
	}
	due := func(s pods.State) bool { return !opts.MarkOnly && isDue(pod, s, opts) }
	if state == pods.Prepared && !due(state) {
		return false, nil // its life lock is for who wants to run it
	}
	if opts.DryRun {
		return due(state), nil
	}
	if !due(state) && undone(pod) {
		return false, nil // nothing to do, and no lock to be in somebody's way with
	}
	removed, err = r.sweep(ctx, pod, sweeping{lock: tryGC, due: due, skip: opts.SkipPlugins})
	if errors.Is(err, ErrState) || errors.Is(err, fs.ErrNotExist) {
		return false, nil // somebody was faster: it runs, or is gone
	}
	return removed, err
}

// isDue reports whether the time of a pod in this state has come. A pod whose files cannot be read is over; nobody will run it.
func isDue(pod *pods.Pod, state pods.State, opts GCOptions) bool {
	switch state {
	case pods.Aborted:
		return true
	case pods.Prepared:
		m, err := pod.Manifest()
		abandoned := err == nil && m.Starter != nil && !m.Starter.Alive()
		return abandoned || err == nil && age(m.Created) >= opts.ExpirePrepared
	}
	return age(endTime(pod)) >= opts.Grace
}

// endTime is when the pod ended; of one whose supervisor was killed, the last thing known is when it started.
func endTime(pod *pods.Pod) time.Time {
	if exit, err := pod.Exit(); err == nil {
		return exit.Finished
	}
	run, _ := pod.Run()
	return run.Started
}

// usedImages are the images of all pods that can be run, now or again. One pod that cannot be read stops it: its images would
// be lost.
func (r *Runtime) usedImages() (map[string]bool, error) {
	return r.imagesOf(func(s pods.State) bool { return s != pods.Aborted }, func(a *pods.App) string { return a.Image.ID })
}

// standingImages are the chain IDs of images that a pod stands on, or may at any moment.
func (r *Runtime) standingImages() (map[string]bool, error) {
	return r.imagesOf(pods.State.Live, func(a *pods.App) string { return a.Image.ChainID })
}

func (r *Runtime) imagesOf(want func(pods.State) bool, key func(*pods.App) string) (map[string]bool, error) {
	uuids, err := r.Pods().UUIDs()
	if err != nil {
		return nil, err
	}
	keep := map[string]bool{}
	var errs []error
	for _, uuid := range uuids {
		if err := r.addImagesOf(keep, uuid, want, key); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, pods.ErrNotFound) {
			errs = append(errs, fmt.Errorf("images of pod %s: %w", uuid, err))
		}
	}
	return keep, errors.Join(errs...)
}

func (r *Runtime) addImagesOf(keep map[string]bool, uuid string, want func(pods.State) bool, key func(*pods.App) string) error {
	pod, err := r.Pods().Open(uuid)
	if err != nil {
		return err
	}
	defer pod.Close()
	state, err := pod.State()
	if err != nil || !want(state) {
		return err
	}
	apps, err := pod.Apps()
	for _, a := range apps {
		keep[key(a)] = true
	}
	return err
}

// ImageGC is GC of the image store alone, with the pods' images kept.
func (r *Runtime) ImageGC(ctx context.Context, opts image.GCOptions) (image.GCReport, error) {
	opts.Keep, opts.InUse = r.usedImages, r.standingImages
	return r.Store.GC(ctx, opts)
}
