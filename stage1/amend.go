package stage1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
)

// addApp takes an app that somebody has written into the running pod, and makes all that it needs but processes.
func (s *supervisor) addApp(name string, known bool) error {
	switch {
	case s.ending:
		return errors.New("the pod is being stopped")
	case known:
		return fmt.Errorf("the pod has an app %q already", name)
	case !s.ready:
		return errors.New("the pod is still being started: wait until it is ready")
	}
	apps, err := s.pod.Apps()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(apps, func(a *pods.App) bool { return a.Name == name })
	if i < 0 || !apps[i].Added {
		return fmt.Errorf("there is no app %q to add", name)
	}
	a, err := newApp(apps[i])
	if err != nil {
		return err
	}
	if err := s.makeApp(a); err != nil {
		return errors.Join(err, s.unmakeApp(a))
	}
	level := 0
	for n, apps := range s.levels {
		if slices.ContainsFunc(apps, func(b *app) bool { return slices.Contains(a.After, b.Name) }) {
			level = n + 1
		}
	}
	if level == len(s.levels) {
		s.levels, s.level = append(s.levels, nil), level+1
	}
	s.levels[level] = append(s.levels[level], a)
	a.done = true // until somebody starts it
	return nil
}

// adopt obeys an order about an app that was written, and of which we were not told, because who added it was killed in between.
func (s *supervisor) adopt(o order) {
	apps, err := s.pod.Apps()
	i := slices.IndexFunc(apps, func(a *pods.App) bool { return a.Name == o.App && a.Added })
	switch {
	case err != nil:
		o.done(err)
	case i < 0:
		o.done(fmt.Errorf("the pod has no app %q", o.App))
	case o.Verb == pods.ControlRemove:
		s.hideImage(apps[i])
		o.done(s.pod.DropApp(o.App))
	default:
		if err := s.addApp(o.App, false); err != nil {
			o.done(fmt.Errorf("%w: it was not added to its end: remove it (gantry app rm), and add it again", err))
			return
		}
		s.obeyStart(s.find(func(a *app) bool { return a.Name == o.App }), o.done)
	}
}

func (s *supervisor) makeApp(a *app) (err error) {
	if err := s.mountRootfs(a.App); err != nil {
		return fmt.Errorf("mount root file system of app %s: %w", a.Name, err)
	}
	if a.files, a.yield, err = etcFiles(s.manifest, s.netDNS, s.runDir, s.rootfs(a.App)); err != nil {
		return err
	}
	if err := fillEtc(a.files, s.manifest, s.net, s.netDNS); err != nil {
		return err
	}
	if err := s.openNotify(a); err != nil {
		return err
	}
	a.streams, err = s.streams.open(s.pod, s.manifest, a.App, !s.opts.Detached, false)
	return err
}

// unmakeApp takes back what makeApp and the launcher made, so that an app of the same name can be added. Its processes must be dead: they have
// its root file system and its cgroup.
func (s *supervisor) unmakeApp(a *app) error {
	a.removed.Store(true)
	if a.notify != nil {
		_ = a.notify.Close()
	}
	var errs []error
	if err := unix.Unmount(s.rootfs(a.App), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		errs = append(errs, fmt.Errorf("unmount root file system of app %s: %w", a.Name, err)) // EINVAL: it was not mounted
	}
	s.hideImage(a.App)
	s.streams.drop(a)
	errs = append(errs, removeCgroups(s.appCgroups(a.Name)), os.RemoveAll(filepath.Join(s.runDir, "lc", s.pod.UUID+"."+a.Name)))
	if s.users != nil {
		for _, dir := range []string{s.rootfs(a.App), s.lowerDir(a.App)} {
			if err := pods.RemoveTree(dir); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if err := os.Remove(filepath.Join(s.runDir, "notify-"+a.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// hideImage unmounts, here, the image of an app that came when the pod ran already, unless another one has it too: stage0 has mounted it for
// that app (or the host's mount has come by itself). The host's own, and other pods', are none of this namespace.
func (s *supervisor) hideImage(gone *pods.App) {
	if !gone.Added {
		return
	}
	for _, dir := range gone.Rootfs.Lower {
		if s.find(func(b *app) bool { return b.Name != gone.Name && slices.Contains(b.Rootfs.Lower, dir) }) == nil {
			_ = unix.Unmount(dir, unix.MNT_DETACH) // EINVAL: it is a directory of the store
		}
	}
}

func (s *supervisor) appCgroups(name string) []string {
	var own []string
	for _, dir := range s.cgroup.dirs {
		own = append(own, filepath.Join(dir, name))
	}
	return own
}

// removeApp forgets an app that does not run, when the processes that it left behind are dead.
func (s *supervisor) removeApp(a *app, done func(error)) {
	switch {
	case a.pid != 0 || a.starting || a.hook != "" || a.cleanUp || !a.at.IsZero() || !a.done:
		done(fmt.Errorf("app %s runs, or is about to: stop it first", a.Name))
		return
	case s.ending:
		done(errors.New("the pod is being stopped"))
		return
	}
	if after := s.find(func(b *app) bool { return slices.Contains(b.After, a.Name) }); after != nil {
		done(fmt.Errorf("app %s comes after it: remove that first", after.Name))
		return
	}
	a.leaving = true
	a.endReaper()
	s.killInBackground(s.appCgroups(a.Name), "", func(err error) {
		if err == nil {
			err = s.forgetApp(a)
		}
		a.leaving = false
		done(err)
	})
}

func (s *supervisor) forgetApp(a *app) error {
	if err := s.unmakeApp(a); err != nil {
		return err
	}
	for i := range s.levels {
		s.levels[i] = slices.DeleteFunc(s.levels[i], func(b *app) bool { return b == a })
	}
	err := s.pod.DropApp(a.Name)
	s.settle()
	return err
}

// obeyStart starts an app that does not run, and replies when it does.
func (s *supervisor) obeyStart(a *app, done func(error)) {
	switch {
	case s.ending:
		done(errors.New("the pod is being stopped"))
	case a.pid != 0 && a.hook == "":
		done(nil) // it runs
	case a.terminal != nil && a.terminal.joined:
		done(fmt.Errorf("app %s has the caller's terminal, and cannot be started again", a.Name))
	default:
		a.waiting = append(a.waiting, done)
		if a.hook == postStop || !a.starting && a.hook == "" { // after a post-stop, else as good as started
			a.held, a.done, a.at = false, false, time.Now()
		}
		s.settle()
	}
}

// errStopped is for who wants an app started again that somebody else stops meanwhile.
var errStopped = errors.New("somebody stopped the app before it was started")

// obeyStop stops an app that runs, and replies when it has ended. It stays stopped, and keeps its pod.
func (s *supervisor) obeyStop(a *app, done func(error)) {
	switch {
	case s.ending:
		done(errors.New("the pod is being stopped"))
	case a.starting || a.hook != "":
		done(fmt.Errorf("app %s is being started, or cleaned up after: try again", a.Name))
	case a.pid != 0:
		a.held, a.asked = true, false
		a.tell(errStopped)
		a.stopping = append(a.stopping, done)
		s.askToStop(a)
		s.settle()
	default:
		a.held, a.done, a.at = true, true, time.Time{}
		a.tell(errStopped)
		if a.cleanUp { // it has ended, and waits for its post-stop hook
			a.stopping = append(a.stopping, done)
		} else {
			done(nil)
		}
		s.settle()
	}
}
