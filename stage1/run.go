package stage1

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/stage1/machine"
)

// ExitInternal is what the supervisor exits with when gantry itself failed.
const ExitInternal = 254

// runRoot is where a pod keeps what must not survive a reboot.
const runRoot = "/run/gantry/pods"

// Programs are the paths of the programs that stage1 starts.
type Programs struct {
	Launch string // gantry-launch
	Init   string // gantry-init
}

// Options are what stage1 is told on its command line.
type Options struct {
	Dir      *os.File // the pod directory
	Path     string   // its path, for the kernel's and other programs' eyes
	Lock     *os.File // carries the life lock
	Detached bool     // nobody watches: streams go to the log
	Ready    *os.File // where to say that the pod is ready, or why not; may be nil
	Sockets  []Socket // that the unit passes
	// Hybrid is pods.HybridMount, if it was hidden already.
	Hybrid *os.File
	// Launcher is the socket of a gantry-launch that was started ahead, LauncherPID our child; nil: there is none.
	Launcher    *os.File
	LauncherPID int
	Programs    Programs
	Warn        func(string) // tells the user what is no error; may be nil
}

// supervisor is one pod while it runs. One goroutine, the one that calls Run, owns all of it.
type supervisor struct {
	opts     Options
	pod      *pods.Pod
	manifest *pods.Manifest
	started  time.Time
	cgroup   *podCgroup
	runDir   string
	programs
	undo     undoStack
	announce announcer
	streams  streams
	launcher *launcher // started, and not yet given its request
	reaper   *reaper
	// appReapers are those of the apps' own PID namespaces, by their PIDs, until they are reaped.
	appReapers map[int]*reaper
	control
	users   *pods.UserRange // of the pod's user namespace; nil: it has none
	plugins *os.File        // the cgroup of network plugins, once one was executed
	net     *pods.Net
	netDNS  pods.DNS
	hold    bool      // apps are started up to their last step
	held    *launcher // that they wait for there
	levels  [][]*app
	events
	verdict
}

// Run supervises the pod until it is over and everything that it made is undone. It returns what the process is to
// exit with. An error is gantry's own; the apps' are in the code.
func Run(ctx context.Context, opts Options) (int, error) {
	s := &supervisor{opts: opts, announce: announcer{pipe: opts.Ready}}
	if opts.Launcher != nil {
		var err error
		if s.launcher, err = newLauncher(opts.LauncherPID, opts.Launcher); err != nil {
			return ExitInternal, err
		}
	}
	code, err := s.run(ctx)
	if err != nil {
		s.announce.failed(code, err.Error())
	}
	return code, err
}

func (s *supervisor) run(ctx context.Context) (int, error) {
	s.listen() // a signal that comes before ends us where we are
	if err := s.open(); err != nil {
		s.dismissLauncher()
		return ExitInternal, err // run.json is not written: the pod is still what it was
	}
	err := s.make(ctx)
	switch {
	case err == nil:
		s.supervise()
		if !s.ready {
			s.announce.failed(s.code, cmp.Or(s.reason, errPodStopped.Error()))
		}
		s.announce.stopping()
	case errors.Is(err, errPodStopped):
		err = nil
		s.abandon()
		s.announce.failed(s.code, errPodStopped.Error())
	default:
		s.fail(ExitInternal, err.Error())
		s.abandon()
	}
	close(s.closed)
	s.dismantle()
	left, undoErr := s.undo.run(ctx)
	if err := errors.Join(s.unclean, s.unrecorded); s.reason == "" && err != nil {
		s.reason = err.Error()
	}
	if s.undead != nil {
		s.code, s.reason = cmp.Or(s.code, ExitInternal), strings.TrimPrefix(s.reason+"; "+s.undead.Error(), "; ")
	}
	s.announce.over(s.reason)
	exit := &pods.Exit{Code: s.code, Reason: s.reason, Finished: time.Now(), Left: left, Pod: s.digest()}
	undoErr = errors.Join(undoErr, s.pod.WriteExit(exit))
	if s.manifest.Remove && undoErr == nil {
		undoErr = s.removePod()
	}
	return s.code, errors.Join(err, s.notStarted, s.unclean, s.unrecorded, s.undead, s.streams.whyLost(), undoErr)
}

func (s *supervisor) digest() *pods.Digest {
	var apps []*pods.App
	for a := range s.apps {
		apps = append(apps, a.App)
	}
	return pods.NewDigest(s.manifest, s.started, apps, s.net)
}

// open reads the pod directory, and makes nothing.
func (s *supervisor) open() (err error) {
	if err := pods.CheckOwners(s.opts.Path); err != nil {
		return fmt.Errorf("pod directory: %w", err)
	}
	if err := s.keepPrograms(); err != nil {
		return err
	}
	uuid := filepath.Base(s.opts.Path)
	if s.pod, err = pods.OpenFile(s.opts.Dir, uuid); err != nil {
		return err
	}
	if s.manifest, err = s.pod.Manifest(); err != nil {
		return err
	}
	apps, err := s.pod.Apps()
	if err != nil {
		return err
	}
	ordered, err := levels(apps)
	if err != nil {
		return err
	}
	for _, level := range ordered {
		var running []*app
		for _, a := range level {
			one, err := newApp(a)
			if err != nil {
				return err
			}
			running = append(running, one)
		}
		s.levels = append(s.levels, running)
	}
	if err := s.shareSockets(); err != nil {
		return err
	}
	s.runDir = filepath.Join(runRoot, uuid)
	s.cgroup, err = findCgroup(uuid, s.opts.Hybrid)
	return err
}

// make makes everything that the apps need, from the outside in; undo holds how to take it back.
func (s *supervisor) make(ctx context.Context) error {
	if err := s.begin(); err != nil {
		return err
	}
	if err := s.openStreams(); err != nil {
		return err
	}
	if err := s.makeNamespaces(); err != nil {
		return err
	}
	if err := s.mount(); err != nil {
		return err
	}
	if err := s.reaper.await(); err != nil {
		return fmt.Errorf("start the pod's reaper: %w", err)
	}
	return s.join(ctx)
}

// begin announces on disk what is about to be made, and makes the first of it.
func (s *supervisor) begin() error {
	start, err := pods.ProcessStart(os.Getpid())
	if err != nil {
		return err
	}
	s.started = time.Now()
	run := &pods.Run{
		BootID: pods.BootID(), PID: os.Getpid(), StartTime: start, Started: s.started,
		Cgroups: s.cgroup.dirs, RunDir: s.runDir,
	}
	if s.manifest.Register {
		run.Machine = machine.Name(s.pod.UUID)
	}
	for _, n := range s.manifest.Networks {
		run.Networks = append(run.Networks, n.Name)
	}
	if err := s.announceRun(run); err != nil {
		return err
	}
	if err := s.pod.ReserveExit(); err != nil {
		return err
	}
	// Apps must outlive the launcher that starts them, as our children.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := os.MkdirAll(s.runDir, 0o700); err != nil {
		return err
	}
	s.undo.push("run directory", func(context.Context) error { return os.RemoveAll(s.runDir) })
	if err := s.openControl(); err != nil {
		return err
	}
	s.undo.push("cgroups", func(context.Context) error { return s.removePodCgroups() })
	return s.cgroup.enter(s.opts.LauncherPID)
}

// openStreams opens the apps' streams, and sees to the launcher that gets them.
func (s *supervisor) openStreams() error {
	single := len(s.levels) == 1 && len(s.levels[0]) == 1
	for a := range s.apps {
		var err error
		if a.streams, err = s.streams.open(s.pod, s.manifest, a.App, !s.opts.Detached, single); err != nil {
			return err
		}
		s.openSockets(a)
	}
	if len(s.levels) == 0 {
		s.dismissLauncher()
		return nil
	}
	var err error
	if s.launcher == nil {
		s.launcher, err = startLauncher(s.launchProgram.now())
	}
	return err
}

func (s *supervisor) mount() error {
	if err := s.mountShared(); err != nil {
		return err
	}
	for a := range s.apps {
		if err := s.mountRootfs(a.App); err != nil {
			return fmt.Errorf("mount root file system of app %s: %w", a.Name, err)
		}
	}
	return nil
}

func (s *supervisor) makeNamespaces() error {
	avenger, err := s.avenger()
	if err != nil {
		return err
	}
	if s.reaper, err = startReaper(s.manifest, s.users, s.opts.Programs.Init, avenger); err != nil {
		return err
	}
	// They stay open until the networks are detached.
	s.undo.push("namespaces", func(context.Context) error { s.reaper.close(); return nil })
	return nil
}
