package fetch

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

	"github.com/gantryrun/gantry/image"
)

const maxConfigFile = 1 << 20

// eachConfig decodes every *.json of one folder, in all configuration directories, weakest first. Folders that are
// not there are empty.
func eachConfig(dirs []string, folder string, use func(path string, data []byte) error) error {
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		list, err := os.ReadDir(filepath.Join(dir, folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %w", image.ErrConfig, err)
		}
		for _, e := range list {
			if !strings.HasSuffix(e.Name(), ".json") {
				continue
			}
			path := filepath.Join(dir, folder, e.Name())
			data, err := readConfigFile(path)
			if err == nil {
				err = use(path, data)
			}
			if err != nil {
				return fmt.Errorf("%w: %s: %w", image.ErrConfig, path, err)
			}
		}
	}
	return nil
}

func readConfigFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err == nil && len(data) > maxConfigFile {
		err = fmt.Errorf("more than %d bytes", maxConfigFile)
	}
	return data, err
}

// configHeader begins every configuration file.
type configHeader struct {
	Kind    string `json:"kind"`
	Version string `json:"version"`
}

func (h configHeader) check(kind string) error {
	if h.Kind != kind || h.Version != "v1" {
		return fmt.Errorf(`want "kind": %q, "version": "v1"`, kind)
	}
	return nil
}

// decodeStrict refuses fields that are not known: a misspelt "blocked" must not pass.
func decodeStrict(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("bytes after the JSON object")
	}
	return nil
}
