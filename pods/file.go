package pods

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods/atomicfile"
)

// maxFile bounds what is read of one pod file: more than any that gantry writes.
const maxFile = 16 << 20

func (p *Pod) read(name string, into any) error {
	data, err := p.ReadFile(name)
	if err != nil {
		return err
	}
	if err := decode(data, into); err != nil {
		return fmt.Errorf("read %s of pod %s: %w", name, p.UUID, err)
	}
	return nil
}

// ReadFile reads a file of the pod. ErrDamaged: what has its name is no file, and could keep a reader waiting.
func (p *Pod) ReadFile(name string) ([]byte, error) {
	f, err := p.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: it is no regular file", ErrDamaged)
	}
	var data []byte
	if err == nil {
		data, err = io.ReadAll(io.LimitReader(f, maxFile))
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of pod %s: %w", name, p.UUID, err)
	}
	return data, nil
}

func (p *Pod) write(name string, v any) error {
	data, err := Marshal(v)
	if err == nil {
		err = atomicfile.WriteIn(p.root, name, 0o600, data, false)
	}
	if err != nil {
		return fmt.Errorf("write %s of pod %s: %w", name, p.UUID, err)
	}
	return nil
}

// Marshal is how every file of a pod is written: indented, for who debugs with cat.
func Marshal(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return append(data, '\n'), err
}

// decode is how every file of a pod is read: ErrVersion for a version that is not ours, an error for a field
// that is unknown.
func decode(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil && versionOf(into) == Version {
		return nil
	}
	var v struct {
		Version string `json:"version"`
	}
	if json.Unmarshal(data, &v) == nil && v.Version != Version {
		return fmt.Errorf("%w: %q", ErrVersion, v.Version)
	}
	if !json.Valid(data) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// versionOf spares the second decoding on the common path.
func versionOf(v any) string {
	switch v := v.(type) {
	case *Manifest:
		return v.Version
	case *App:
		return v.Version
	case *Run:
		return v.Version
	case *Net:
		return v.Version
	case *Exit:
		return v.Version
	case *AppRun:
		return v.Version
	case *Dropped:
		return v.Version
	}
	return ""
}
