package appc

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Labels of a converted image's configuration that hold, as JSON in the manifest's own form, what OCI has no field for.
// A runtime that reads them (Kept) may let them tighten what the user asked for and never loosen it: any image can carry these labels.
const (
	LabelName          = "run.gantry.appc.name"
	LabelLabels        = "run.gantry.appc.labels"
	LabelID            = "run.gantry.appc.id" // sha512-…, of the uncompressed archive
	LabelIsolators     = "run.gantry.appc.isolators"
	LabelEventHandlers = "run.gantry.appc.event-handlers"
	LabelMountPoints   = "run.gantry.appc.mount-points"
	LabelPorts         = "run.gantry.appc.ports"
	LabelGIDs          = "run.gantry.appc.supplementary-gids"
	LabelDependencies  = "run.gantry.appc.dependencies"
)

// platforms of appc (spec, aci.md, "os" and "arch") in OCI's words.
var platforms = map[string]ocispec.Platform{
	"amd64": {Architecture: "amd64"}, "i386": {Architecture: "386"}, "aarch64": {Architecture: "arm64"},
	"armv6l": {Architecture: "arm", Variant: "v6"}, "armv7l": {Architecture: "arm", Variant: "v7"},
	"ppc64": {Architecture: "ppc64"}, "ppc64le": {Architecture: "ppc64le"}, "s390x": {Architecture: "s390x"},
}

// Platform that the labels name; what they leave open is as wanted.
func (m *Manifest) Platform(want ocispec.Platform) (ocispec.Platform, error) {
	p := ocispec.Platform{OS: want.OS, Architecture: want.Architecture, Variant: want.Variant}
	if os := m.Label("os"); os != "" {
		p.OS = os
	}
	if arch := m.Label("arch"); arch != "" {
		known, ok := platforms[arch]
		if !ok {
			return p, fmt.Errorf("%w: label arch %q", ErrInvalid, arch)
		}
		p.Architecture, p.Variant = known.Architecture, known.Variant
	}
	return p, nil
}

// ArchOf is appc's word for a platform's architecture.
func ArchOf(p ocispec.Platform) string {
	for arch, known := range platforms {
		if known.Architecture == p.Architecture && (known.Variant == p.Variant || known.Variant == "") {
			return arch
		}
	}
	return p.Architecture
}

// Layer is what lies below rootfs/ of one ACI, as a tar.
type Layer struct {
	Name   string // of the ACI
	DiffID digest.Digest
	Size   int64
}

// ImageConfig is the configuration of the OCI image: the app of m over layers, lowest first.
func (m *Manifest) ImageConfig(want ocispec.Platform, id string, layers []Layer) (*ocispec.Image, error) {
	platform, err := m.Platform(want)
	if err != nil {
		return nil, err
	}
	c := &ocispec.Image{Platform: platform, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}}
	for _, l := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, l.DiffID)
		c.History = append(c.History, ocispec.History{CreatedBy: "appc " + l.Name})
	}
	c.Config.Labels = map[string]string{LabelName: m.Name, LabelID: id}
	for _, a := range m.Annotations {
		switch a.Name {
		case "created":
			if at, err := time.Parse(time.RFC3339, a.Value); err == nil {
				c.Created = &at
			}
		case "authors":
			c.Author = a.Value
		}
		if !strings.HasPrefix(a.Name, "run.gantry.") { // ours are not the image's to set
			c.Config.Labels[a.Name] = a.Value
		}
	}
	labels := []label{{LabelLabels, m.Labels, len(m.Labels)}, {LabelDependencies, m.Dependencies, len(m.Dependencies)}}
	if a := m.App; a != nil {
		a.fill(&c.Config)
		labels = append(labels, a.kept()...)
	}
	return c, setLabels(c.Config.Labels, labels)
}

// fill in what OCI has fields for: these take effect. What the user gives after -- follows exec, as in rkt.
func (a *App) fill(c *ocispec.ImageConfig) {
	c.User = a.User + ":" + a.Group
	c.Entrypoint = a.Exec
	c.WorkingDir = a.WorkingDirectory
	for _, e := range a.Environment {
		c.Env = append(c.Env, e.Name+"="+e.Value)
	}
	for _, m := range a.MountPoints {
		if c.Volumes == nil {
			c.Volumes = map[string]struct{}{}
		}
		c.Volumes[m.Path] = struct{}{}
	}
	for _, p := range a.Ports {
		if c.ExposedPorts == nil {
			c.ExposedPorts = map[string]struct{}{}
		}
		for n := range p.Count {
			c.ExposedPorts[strconv.FormatUint(uint64(p.Port+n), 10)+"/"+p.Protocol] = struct{}{}
		}
	}
}
