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

// SweepApps deletes what killed commands left of apps that are none: removed ones, and those that were being added. The caller holds
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
	return errors.Join(errs...)
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
