package appc

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/gantryrun/gantry/image/strictjson"
)

// Errors that callers branch on.
var (
	// ErrInvalid: an archive or manifest that is broken, or says what cannot be.
	ErrInvalid = errors.New("invalid appc image")
	// ErrNotFound: discovery leads nowhere.
	ErrNotFound = errors.New("no appc image found")
)

// Manifest is an appc image manifest (spec, aci.md, "Image Manifest Schema").
type Manifest struct {
	Kind          string       `json:"acKind"`
	Version       string       `json:"acVersion"`
	Name          string       `json:"name"`
	Labels        []Pair       `json:"labels"`
	App           *App         `json:"app"`
	Annotations   []Pair       `json:"annotations"`
	Dependencies  []Dependency `json:"dependencies"`
	PathWhitelist []string     `json:"pathWhitelist"`
}

// Pair is a label, an annotation, or a variable of the environment.
type Pair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// App is what an image runs.
type App struct {
	Exec              []string        `json:"exec"`
	User              string          `json:"user"`
	Group             string          `json:"group"`
	SupplementaryGIDs []int           `json:"supplementaryGIDs"`
	EventHandlers     []EventHandler  `json:"eventHandlers"`
	WorkingDirectory  string          `json:"workingDirectory"`
	Environment       []Pair          `json:"environment"`
	MountPoints       []MountPoint    `json:"mountPoints"`
	Ports             []Port          `json:"ports"`
	Isolators         []Isolator      `json:"isolators"`
	UserAnnotations   json.RawMessage `json:"userAnnotations"`
	UserLabels        json.RawMessage `json:"userLabels"`
}

// EventHandler is a program to run before the app starts or after it stopped.
type EventHandler struct {
	Name string   `json:"name"`
	Exec []string `json:"exec"`
}

// MountPoint is where an app wants a volume.
type MountPoint struct {
	Name     string `json:"name"`
	Path     string `json:"path"`
	ReadOnly bool   `json:"readOnly"`
}

// Port that an app listens on; Count of them from Port on.
type Port struct {
	Name            string `json:"name"`
	Protocol        string `json:"protocol"`
	Port            uint   `json:"port"`
	Count           uint   `json:"count"`
	SocketActivated bool   `json:"socketActivated"`
}

// Isolator is a limit, or a set of rights, that an app wants.
type Isolator struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
}

// Dependency is an image whose files lie below this one's.
type Dependency struct {
	ImageName string `json:"imageName"`
	ImageID   string `json:"imageID"`
	Labels    []Pair `json:"labels"`
	Size      uint64 `json:"size"`
}

// Bounds of a manifest.
const (
	MaxManifest     = 1 << 20 // bytes
	maxDependencies = 64
	maxPorts        = 1024
	maxPath         = 4096
)

// ParseManifest reads a manifest. Unknown fields are refused, and so is whatever could not be what it says.
func ParseManifest(data []byte) (*Manifest, error) {
	m := &Manifest{}
	if err := strictjson.Decode(data, m); err != nil {
		return nil, fmt.Errorf("%w: manifest: %w", ErrInvalid, err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("%w: manifest: %w", ErrInvalid, err)
	}
	return m, nil
}

func (m *Manifest) check() error {
	switch {
	case m.Kind != "ImageManifest":
		return fmt.Errorf("acKind %q: want ImageManifest", m.Kind)
	case !strings.HasPrefix(m.Version, "0."):
		return fmt.Errorf("acVersion %q: want 0.x", m.Version)
	case !IsIdentifier(m.Name):
		return fmt.Errorf("name %q", m.Name)
	case len(m.Dependencies) > maxDependencies:
		return fmt.Errorf("%d dependencies, %d allowed", len(m.Dependencies), maxDependencies)
	}
	if err := CheckPairs("label", m.Labels); err != nil {
		return err
	}
	if err := CheckPairs("annotation", m.Annotations); err != nil {
		return err
	}
	for _, d := range m.Dependencies {
		if !IsIdentifier(d.ImageName) {
			return fmt.Errorf("dependency %q", d.ImageName)
		}
		if d.ImageID != "" && !isImageID(d.ImageID) {
			return fmt.Errorf("dependency %s: imageID %q", d.ImageName, d.ImageID)
		}
		if err := CheckPairs("label", d.Labels); err != nil {
			return err
		}
	}
	for _, p := range m.PathWhitelist {
		if !isCleanPath(p) {
			return fmt.Errorf("pathWhitelist: %q", p)
		}
	}
	if m.App == nil {
		return nil
	}
	return m.App.check()
}

func (a *App) check() error {
	if len(a.Exec) > 0 && !path.IsAbs(a.Exec[0]) {
		return fmt.Errorf("exec %q: want an absolute path", a.Exec[0])
	}
	for _, s := range append([]string{a.User, a.Group, a.WorkingDirectory}, a.Exec...) {
		if strings.ContainsAny(s, "\x00") {
			return fmt.Errorf("NUL in %q", s)
		}
	}
	if a.User == "" || a.Group == "" || strings.ContainsAny(a.User+a.Group, ":\n") {
		return fmt.Errorf("user %q, group %q", a.User, a.Group)
	}
	for _, s := range []string{a.User, a.Group} { // a path stands for who owns it in the image
		if s[0] == '/' && !isCleanPath(s) {
			return fmt.Errorf("user %q, group %q", a.User, a.Group)
		}
	}
	if a.WorkingDirectory != "" && !isCleanPath(a.WorkingDirectory) {
		return fmt.Errorf("workingDirectory %q", a.WorkingDirectory)
	}
	for _, e := range a.Environment {
		if e.Name == "" || strings.ContainsAny(e.Name, "=\x00\n") || strings.ContainsRune(e.Value, 0) {
			return fmt.Errorf("environment %q", e.Name)
		}
	}
	return a.checkKept()
}

// checkKept checks what is kept in labels.
func (a *App) checkKept() error {
	if err := checkHandlers(a.EventHandlers); err != nil {
		return err
	}
	for _, p := range a.MountPoints {
		if !isName(p.Name) || !isCleanPath(p.Path) || p.Path == "/" {
			return fmt.Errorf("mount point %q at %q", p.Name, p.Path)
		}
	}
	for _, i := range a.Isolators {
		if !IsIdentifier(i.Name) {
			return fmt.Errorf("isolator %q", i.Name)
		}
	}
	for _, gid := range a.SupplementaryGIDs {
		if gid < 0 || int64(gid) > 1<<32-2 {
			return fmt.Errorf("supplementaryGIDs: %d", gid)
		}
	}
	return a.checkPorts()
}

// checkHandlers: each name once (spec, aci.md, "eventHandlers").
func checkHandlers(handlers []EventHandler) error {
	seen := map[string]bool{}
	for _, h := range handlers {
		if (h.Name != PreStart && h.Name != PostStop) || seen[h.Name] || len(h.Exec) == 0 || !path.IsAbs(h.Exec[0]) {
			return fmt.Errorf("event handler %q: %q", h.Name, h.Exec)
		}
		seen[h.Name] = true
	}
	return nil
}

func (a *App) checkPorts() error {
	var total uint
	for i := range a.Ports {
		p := &a.Ports[i]
		if p.Count == 0 {
			p.Count = 1
		}
		total += min(p.Count, maxPorts+1)
		switch {
		case !isName(p.Name), p.Protocol != "tcp" && p.Protocol != "udp", p.Port == 0, p.Port > 65535, p.Count > 65536-p.Port:
			return fmt.Errorf("port %q: %s/%d, count %d", p.Name, p.Protocol, p.Port, p.Count)
		case total > maxPorts:
			return fmt.Errorf("more than %d ports", maxPorts)
		}
	}
	return nil
}

// CheckPairs: each name once. (Of two the spec says nothing.)
func CheckPairs(what string, list []Pair) error {
	seen := map[string]bool{}
	for _, p := range list {
		if !IsIdentifier(p.Name) || seen[p.Name] || strings.ContainsRune(p.Value, 0) {
			return fmt.Errorf("%s %q", what, p.Name)
		}
		seen[p.Name] = true
	}
	return nil
}

// Label returns the value of a label, "" if it has none.
func (m *Manifest) Label(name string) string { return find(m.Labels, name) }

func find(list []Pair, name string) string {
	for _, p := range list {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

const alphanumeric = "abcdefghijklmnopqrstuvwxyz0123456789"

// IsIdentifier: the spec's AC Identifier, [a-z0-9]+([-._~/][a-z0-9]+)*.
func IsIdentifier(s string) bool { return isSeparated(s, "-._~/") }

// isName: the spec's AC Name, without slashes and the like.
func isName(s string) bool { return isSeparated(s, "-") }

func isSeparated(s, separators string) bool {
	after := true // at the beginning, or after a separator
	for _, r := range s {
		switch {
		case strings.ContainsRune(alphanumeric, r):
			after = false
		case after || !strings.ContainsRune(separators, r):
			return false
		default:
			after = true
		}
	}
	return !after && len(s) <= maxPath
}

func isImageID(s string) bool {
	hex, ok := strings.CutPrefix(s, "sha512-")
	return ok && len(hex) == 128 && strings.Trim(hex, "0123456789abcdef") == ""
}

func isCleanPath(s string) bool {
	return path.IsAbs(s) && path.Clean(s) == s && len(s) <= maxPath && !strings.ContainsRune(s, 0)
}
