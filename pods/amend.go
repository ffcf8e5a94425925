package pods

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// removedApp is how the directory of a removed app is called, until it is deleted.
const removedApp = ".trash-"

// Amend is a pod that is there already as a draft, to add an app to: only that app's files are to be written, app.json last. The caller
// holds the pod's gc lock, which keeps others from it.
func (s *Store) Amend(p *Pod) *Draft { return &Draft{Pod: p, store: s} }

// SweepApps deletes what is left of apps that are none: removed ones, and those that were being added by commands that were killed. The caller holds
// the pod's gc lock.
func (d *Draft) SweepApps() error {
	entries, err := fs.ReadDir(d.root.FS(), appsDir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), removedApp) || !d.has(AppPath(e.Name(), AppFile)) {
			errs = append(errs, RemoveTree(filepath.Join(d.Path(), appsDir, e.Name())))
		}
	}
	return errors.Join(append(errs, d.sweepVolumes())...)
}

// sweepVolumes deletes the empty volumes that came with added apps which are gone: they are nobody's, and would be the next one's of the same name.
func (d *Draft) sweepVolumes() error {
	m, err := d.Manifest()
	if err != nil {
		return err
	}
	apps, err := d.Apps()
	if err != nil {
		return err
	}
	kept := map[string]bool{}
	for _, v := range m.Volumes {
		kept[v.Name] = true // an added app may mount one that came with another app, too
	}
	for _, a := range apps {
		for _, v := range a.Volumes {
			kept[v.Name] = true
		}
	}
	entries, err := fs.ReadDir(d.root.FS(), VolumePath(""))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, e := range entries {
		if !kept[e.Name()] {
			errs = append(errs, RemoveTree(filepath.Join(d.Path(), VolumePath(e.Name()))))
		}
	}
	return errors.Join(append(errs, err)...)
}

// DropApp takes the app out of the pod, with its logs. Only stage1 calls it, when nothing of the app is left but files, which Draft.SweepApps
// deletes.
func (p *Pod) DropApp(app string) error {
	for n := 0; ; n++ {
		trash := filepath.Join(appsDir, fmt.Sprintf("%s%s-%d", removedApp, app, n))
		if p.has(trash) {
			continue
		}
		if err := p.root.Rename(AppPath(app, ""), trash); err != nil {
			return fmt.Errorf("remove app %s of pod %s: %w", app, p.UUID, err)
		}
		break
	}
	var errs []error
	for _, name := range []string{app + ".log", app + ".log.1", app + ".dropped"} {
		if err := p.root.Remove(filepath.Join("logs", name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
