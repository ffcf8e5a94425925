// Package config reads what the three configuration directories say about paths and stage1.
//
// It knows the folders paths.d and stage1.d; registries.d and auth.d belong to image/fetch, net.d to network/conf. It reads
// JSON files, one concern each, and never writes. Its invariant: a later directory overrides an earlier one field by
// field, two files of one directory never contradict each other, and a field that is not known is an error that names its file.
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrConfig is a configuration file that cannot be used.
var ErrConfig = errors.New("bad configuration")

// maxFile bounds what is read of one file.
const maxFile = 1 << 20

// Dirs are the configuration directories, weakest first. Empty ones are skipped.
type Dirs struct{ System, Local, User string }

// List gives them in the order in which they override.
func (d Dirs) List() []string { return []string{d.System, d.Local, d.User} }

// Config is what the files add up to. The zero value is the default.
type Config struct {
	Data       string   `json:"data,omitempty"`       // paths.d: the data directory
	CNI        []string `json:"cni,omitempty"`        // paths.d: directories of CNI plugins, before gantry's own
	Stage1     string   `json:"stage1,omitempty"`     // stage1.d: flavour
	Stage1Path string   `json:"stage1Path,omitempty"` // stage1.d: directory of gantry-stage1 and its companions
}

type pathsFile struct {
	header
	Data string   `json:"data"`
	CNI  []string `json:"cni"`
}

type stage1File struct {
	header
	Default string `json:"default"`
	Path    string `json:"path"`
}

type header struct {
	Kind    string `json:"kind"`
	Version string `json:"version"`
}

// Load reads paths.d and stage1.d. Directories that are missing are empty.
func Load(dirs Dirs) (*Config, error) {
	c := &Config{}
	for _, dir := range dirs.List() {
		if dir == "" {
			continue
		}
		if err := c.loadPaths(filepath.Join(dir, "paths.d")); err != nil {
			return nil, err
		}
		if err := c.loadStage1(filepath.Join(dir, "stage1.d")); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Config) loadPaths(dir string) error {
	var level pathsFile
	err := eachFile(dir, func(path string, data []byte) error {
		var f pathsFile
		if err := decode(path, data, &f, &f.header, "paths"); err != nil {
			return err
		}
		if f.Data != "" && !filepath.IsAbs(f.Data) {
			return fmt.Errorf("%w: %s: data %q: want an absolute path", ErrConfig, path, f.Data)
		}
		for _, cni := range f.CNI {
			if !filepath.IsAbs(cni) {
				return fmt.Errorf("%w: %s: cni %q: want an absolute path", ErrConfig, path, cni)
			}
		}
		if level.Data != "" && f.Data != "" || level.CNI != nil && f.CNI != nil {
			return fmt.Errorf("%w: %s says again what another file of %s says", ErrConfig, path, dir)
		}
		overrideText(&level.Data, f.Data)
		if f.CNI != nil {
			level.CNI = f.CNI
		}
		return nil
	})
	overrideText(&c.Data, level.Data)
	if level.CNI != nil {
		c.CNI = level.CNI
	}
	return err
}

func (c *Config) loadStage1(dir string) error {
	var level stage1File
	err := eachFile(dir, func(path string, data []byte) error {
		var f stage1File
		if err := decode(path, data, &f, &f.header, "stage1"); err != nil {
			return err
		}
		if f.Default != "" && f.Default != "default" && f.Default != "chroot" {
			return fmt.Errorf("%w: %s: stage1 %q: want default or chroot", ErrConfig, path, f.Default)
		}
		if f.Path != "" && !filepath.IsAbs(f.Path) {
			return fmt.Errorf("%w: %s: path %q: want an absolute path", ErrConfig, path, f.Path)
		}
		if level.Default != "" && f.Default != "" || level.Path != "" && f.Path != "" {
			return fmt.Errorf("%w: %s says again what another file of %s says", ErrConfig, path, dir)
		}
		overrideText(&level.Default, f.Default)
		overrideText(&level.Path, f.Path)
		return nil
	})
	overrideText(&c.Stage1, level.Default)
	overrideText(&c.Stage1Path, level.Path)
	return err
}

func overrideText(dst *string, src string) {
	if src != "" {
		*dst = src
	}
}

// eachFile calls use with every *.json of dir, in the order of their names, without recursion.
func eachFile(dir string, use func(path string, data []byte) error) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		data, err := readFile(path)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
		if err := use(path, data); err != nil {
			return err
		}
	}
	return nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return data, err
}

func decode(path string, data []byte, into any, h *header, kind string) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrConfig, path, err)
	}
	if h.Kind != kind || h.Version != "v1" {
		return fmt.Errorf(`%w: %s: want "kind": %q, "version": "v1"`, ErrConfig, path, kind)
	}
	return nil
}
