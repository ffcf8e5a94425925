package appc

import (
	"encoding/json"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/image/strictjson"
)

// Names of event handlers.
const (
	PreStart = "pre-start"
	PostStop = "post-stop"
)

// Kept is what the labels of a configuration hold of an appc app: event handlers, isolators, mount points, ports and groups; nil where
// they hold nothing. Any image can carry such labels, so they are checked as an image manifest is.
func Kept(labels map[string]string) (*App, error) {
	a, some := &App{}, false
	for _, l := range a.kept() {
		text := labels[l.name]
		if text == "" {
			continue
		}
		some = true
		if err := strictjson.Decode([]byte(text), l.value); err != nil {
			return nil, fmt.Errorf("%w: label %s: %w", ErrInvalid, l.name, err)
		}
	}
	if !some {
		return nil, nil
	}
	if err := a.checkKept(); err != nil {
		return nil, fmt.Errorf("%w: labels: %w", ErrInvalid, err)
	}
	return a, nil
}

// label is a list that becomes one, unless it is empty.
type label struct {
	name  string
	value any // a pointer
	n     int
}

// kept are the lists that OCI has no field for, or no names for their entries.
func (a *App) kept() []label {
	return []label{
		{LabelIsolators, &a.Isolators, len(a.Isolators)}, {LabelEventHandlers, &a.EventHandlers, len(a.EventHandlers)},
		{LabelMountPoints, &a.MountPoints, len(a.MountPoints)}, {LabelPorts, &a.Ports, len(a.Ports)},
		{LabelGIDs, &a.SupplementaryGIDs, len(a.SupplementaryGIDs)},
	}
}

func setLabels(into map[string]string, labels []label) error {
	for _, l := range labels {
		if l.n == 0 {
			continue
		}
		text, err := json.Marshal(l.value)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		into[l.name] = string(text)
	}
	return nil
}

// Override is the configuration of an image of which a pod manifest says another app. Nothing of the image's own app is left.
func Override(img ocispec.Image, app *App) (ocispec.Image, error) {
	if err := app.check(); err != nil {
		return img, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	labels := map[string]string{}
	for name, value := range img.Config.Labels {
		labels[name] = value
	}
	for _, l := range app.kept() {
		delete(labels, l.name)
	}
	img.Config = ocispec.ImageConfig{Labels: labels}
	app.fill(&img.Config)
	return img, setLabels(labels, app.kept())
}
