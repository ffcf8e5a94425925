package launch

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/runc/libcontainer"
)

// place is where processes of an app belong in the hierarchies of cgroup v1: they are born there.
//
// libcontainer moves a process after it has forked it, by cgroup.procs. For the first such move after a quiet time the kernel waits for an
// RCU grace period, some 10 ms in which nobody on the whole machine forks, executes or ends (cgroup_threadgroup_rwsem). A thread that moves
// only itself, by tasks, waits for nothing. So the thread that forks is moved, forks, and is moved back:
//
//	our thread      enter ─▶ fork ─▶ ... ─▶ leave
//	the process                └──▶ born in the cgroups
//	libcontainer                     joins what its manager knows, nothing ─▶ sets the limits, in what the manager knows again
//
// The manager's paths are emptied for that while. Should a libcontainer hand out a copy of them one day, it would move the process once more,
// and all that is lost is the time.
//
// A cpuset the pod's apps share: nobody sets anything of it, and the kernel compares each with all its siblings, and walks over all there are to make
// the scheduling domains anew, as often as one is written to, or goes. The manager takes each app to have one of its own, which is never made.
type place struct {
	manager map[string]string // libcontainer's own
	holds   map[string]string // what it holds else, by controller
	paths   map[string]string // where the app belongs
	home    []*os.File        // where our thread came from
}

func placeOf(container *libcontainer.Container) (*place, error) {
	state, err := container.State()
	if err != nil {
		return nil, err
	}
	p := &place{manager: state.CgroupPaths, holds: maps.Clone(state.CgroupPaths)}
	delete(p.holds, "") // cgroup2, where stage1 did not hide it, is for whole processes
	p.paths = maps.Clone(p.holds)
	if own, ok := p.paths["cpuset"]; ok && !together(p.paths, "cpuset") {
		p.paths["cpuset"] = filepath.Dir(own)
	}
	return p, nil
}

// together says whether the hierarchy of a controller has another one.
func together(paths map[string]string, controller string) bool {
	for name, dir := range paths {
		if name != controller && dir == paths[controller] {
			return true
		}
	}
	return false
}

// make makes the cgroups of an app that is not there yet. They have no limits before it is.
func (p *place) make(config *cgroups.Cgroup) error {
	m, err := fs.NewManager(config, p.paths)
	if err != nil {
		return err
	}
	if dir := p.paths["cpuset"]; dir != p.holds["cpuset"] {
		if err := makeCpuset(dir); err != nil {
			return err
		}
	}
	const nobody = -1
	return m.Apply(nobody)
}

// makeCpuset makes a cpuset that asks for no scheduling domain: the one above has one already, of the same processors. So none is
// made anew when it gets its processors, and when it goes.
func makeCpuset(dir string) error {
	const balance = "cpuset.sched_load_balance"
	if above, err := os.ReadFile(filepath.Join(filepath.Dir(dir), balance)); err != nil || string(above) != "1\n" {
		return nil //nolint:nilerr // mounted without prefixes, perhaps: it is made like any other
	}
	if err := os.Mkdir(dir, 0o755); errors.Is(err, iofs.ErrExist) { // of another app of the pod
		return nil
	} else if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, balance), []byte("0"), 0)
}

// enter moves the calling thread, which has to be locked, and not the first of the process: the process's memory is counted where that is. As
// long as the thread is there, whoever kills all in the cgroup kills us. What failed half-way is undone by leave.
func (p *place) enter() error {
	own, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	moved := map[string]bool{} // cpu and cpuacct may be one
	for name, dir := range p.paths {
		if moved[dir] {
			continue
		}
		moved[dir] = true
		mount, root, err := cgroups.FindCgroupMountpointAndRoot("", name)
		if err != nil {
			return err
		}
		home, err := filepath.Rel(root, own[name])
		if err != nil {
			return err
		}
		f, err := os.OpenFile(filepath.Join(mount, home, "tasks"), os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("open own cgroup: %w", err)
		}
		p.home = append(p.home, f)
		if err := os.WriteFile(filepath.Join(dir, "tasks"), []byte("0"), 0); err != nil {
			return fmt.Errorf("join cgroup: %w", err)
		}
	}
	for name := range p.holds {
		delete(p.manager, name)
	}
	return nil
}

// leave moves the thread back, and gives the manager back its paths. Once it was done there is nothing to do.
func (p *place) leave() error {
	var errs []error
	for _, f := range p.home {
		_, err := f.WriteString("0")
		errs = append(errs, err, f.Close())
	}
	p.home = nil
	maps.Copy(p.manager, p.holds)
	return errors.Join(errs...)
}

// do calls f in the place, on this thread.
func (p *place) do(f func() error) error {
	runtime.LockOSThread()
	err := p.enter()
	if err == nil {
		err = f()
	}
	if left := p.leave(); left != nil {
		return errors.Join(err, left) // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// births are the places of processes that libcontainer is starting and has not set the limits of.
type births struct{ places sync.Map } // by the limits, *cgroups.Resources

// newBirths hooks in where libcontainer sets device rules: the process waits, and is set to run in its cgroups only after this.
func newBirths() *births {
	b := &births{}
	set := cgroups.DevicesSetV1
	cgroups.DevicesSetV1 = func(dir string, r *cgroups.Resources) error {
		p, ok := b.places.LoadAndDelete(r)
		if !ok {
			return set(dir, r)
		}
		if err := p.(*place).leave(); err != nil {
			return err
		}
		return set(p.(*place).paths["devices"], r)
	}
	return b
}

// start starts the container, whose first process is born in its cgroups.
func (b *births) start(container *libcontainer.Container, process *libcontainer.Process) error {
	config := container.Config().Cgroups
	p, err := placeOf(container)
	if err == nil {
		err = p.make(config)
	}
	if err != nil {
		return fmt.Errorf("make cgroups: %w", err)
	}
	b.places.Store(config.Resources, p)
	defer b.places.Delete(config.Resources)
	return p.do(func() error { return container.Start(process) })
}
