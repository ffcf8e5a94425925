package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/gantryrun/gantry/image/strictjson"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/pods/printable"
	"github.com/gantryrun/gantry/runtime/podmanifest"
)

// maxPodManifest is more than anybody writes.
const maxPodManifest = 4 << 20

// ofTheCall are the pod flags that say how one call goes, not what the pod is: no manifest has them.
var ofTheCall = []string{
	"pod-manifest", "uuid-file-save", "detach", "slice", "property", "interactive", "tty", "pull-policy", "no-store", "store-only", "init", "allow-rollback", "quiet", "rm", "inherit-env",
}

// besideManifest are the pod flags that may stand beside --pod-manifest of any form: what the host and the call decide.
var besideManifest = append([]string{
	"pod-name", "hostname", "net", "dns", "dns-search", "dns-opt", "dns-domain", "hosts-entry", "add-host", "ipc", "pid",
	"private-users", "no-overlay", "mds-register", "stage1-name", "stage1-path", "store",
}, ofTheCall...)

// readManifest reads the pod of --pod-manifest into o, and returns its apps. line is what the command line says.
func (o *podOptions) readManifest(fs *pflag.FlagSet, line []*appOptions) ([]*appOptions, error) {
	if len(line) > 0 {
		return nil, usagef("--pod-manifest says which images the pod has: leave %s out", printable.Text(line[0].image))
	}
	for _, name := range changed(fs) {
		if podFlags().Lookup(name) != nil && !slices.Contains(besideManifest, name) {
			return nil, usagef("--%s and --pod-manifest both describe the pod: say it in the manifest", name)
		}
	}
	data, err := readSmall(o.manifest)
	if err != nil {
		return nil, fmt.Errorf("pod manifest: %w", err)
	}
	apps, err := o.decodeManifest(fs, data)
	if err != nil {
		return nil, usageError{fmt.Errorf("pod manifest %s: %w", printable.Text(o.manifest), err)}
	}
	return apps, nil
}

// changed are the flags that the command line has, by the name that counts.
func changed(fs *pflag.FlagSet) []string {
	var names []string
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			names = append(names, canonical(fs, f).Name)
		}
	})
	return names
}

// podFlags are the pod's own, without the global ones, which are no part of a pod.
func podFlags() *pflag.FlagSet {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	(&podOptions{}).addFlags(own)
	return own
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPodManifest+1))
	if err == nil && len(data) > maxPodManifest {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxPodManifest)
	}
	return data, err
}

// decodeManifest tells the forms apart.
func (o *podOptions) decodeManifest(fs *pflag.FlagSet, data []byte) ([]*appOptions, error) {
	if err := strictjson.Check(data); err != nil {
		return nil, err
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil {
		return nil, errors.New("want a JSON object")
	}
	switch {
	case top["acKind"] != nil:
		apps, err := podmanifest.Parse(data, &o.req)
		var out []*appOptions
		for i := range apps {
			out = append(out, &appOptions{complete: &apps[i]})
		}
		return out, err
	case top["uuid"] != nil:
		return nil, errors.New("this is what cat-manifest prints: a record of a pod, without its apps. To run that pod again say gantry restart POD")
	}
	return o.ownManifest(fs, top)
}

// ownManifest reads gantry's own form: the flags of run, by their long names.
func (o *podOptions) ownManifest(fs *pflag.FlagSet, top map[string]json.RawMessage) ([]*appOptions, error) {
	var version string
	if err := json.Unmarshal(top["version"], &version); err != nil || version != pods.Version {
		return nil, fmt.Errorf(`"version": want %q`, pods.Version)
	}
	delete(top, "version")
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(top["apps"], &list); err != nil || len(list) == 0 {
		return nil, errors.New(`"apps": want a list of apps, each with an "image"`)
	}
	delete(top, "apps")
	said := changed(fs)
	for _, name := range slices.Sorted(maps.Keys(top)) {
		if slices.Contains(ofTheCall, name) {
			return nil, fmt.Errorf("%q is for the command line: it says how one run goes, not what the pod is", name)
		}
		if slices.Contains(said, name) {
			return nil, fmt.Errorf("%q is on the command line, too", name)
		}
		if podFlags().Lookup(name) == nil {
			return nil, unknownKey(name, fs)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(top)) {
		if err := setKey(fs, name, top[name]); err != nil {
			return nil, err
		}
	}
	var apps []*appOptions
	for i, keys := range list {
		app, err := ownApp(keys)
		if err != nil {
			return nil, fmt.Errorf("app %d: %w", i+1, err)
		}
		apps = append(apps, app)
	}
	return apps, nil
}

func ownApp(keys map[string]json.RawMessage) (*appOptions, error) {
	fs, app := newAppFlags()
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		raw, err := keys[name], error(nil)
		switch name {
		case "image":
			err = json.Unmarshal(raw, &app.image)
		case "args":
			app.args = []string{}
			err = json.Unmarshal(raw, &app.args)
		case "pre-start":
			err = json.Unmarshal(raw, &app.req.Hooks.PreStart)
		case "post-stop":
			err = json.Unmarshal(raw, &app.req.Hooks.PostStop)
		default:
			if err = setKey(fs, name, raw); err != nil {
				return nil, err
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %s is not what it takes", name, raw)
		}
	}
	if app.image == "" {
		return nil, errors.New(`"image" is missing`)
	}
	return app, nil
}

// setKey sets a flag from JSON: a string, number or boolean, a list of them for a flag that may be repeated, an object for one of
// NAME=VALUE.
func setKey(fs *pflag.FlagSet, name string, raw json.RawMessage) error {
	f := fs.Lookup(name)
	if f == nil || canonical(fs, f) != f {
		return unknownKey(name, fs)
	}
	values, err := flagValues(raw)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	if len(values) != 1 && !isList(f) {
		return fmt.Errorf("%q: want one value", name)
	}
	for _, v := range values {
		if err := setFlag(f, fmt.Sprintf("%q", name), v); err != nil {
			return err
		}
	}
	return nil
}

func flagValues(raw json.RawMessage) ([]string, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber() // 1000000 must not become 1e+06
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case []any:
		var values []string
		for _, item := range v {
			one, ok := flagValue(item)
			if !ok {
				return nil, errors.New("want a list of strings or numbers")
			}
			values = append(values, one)
		}
		return values, nil
	case map[string]any:
		var values []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			one, ok := flagValue(v[key])
			if !ok {
				return nil, errors.New("want an object of strings or numbers")
			}
			values = append(values, key+"="+one)
		}
		return values, nil
	}
	one, ok := flagValue(v)
	if !ok {
		return nil, errors.New("want a value")
	}
	return []string{one}, nil
}

func flagValue(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number, bool:
		return fmt.Sprint(v), true
	}
	return "", false
}

func unknownKey(name string, fs *pflag.FlagSet) error {
	return fmt.Errorf("unknown key %q: its keys are the flags of gantry run, by their long names%s", name, hintFor(name, fs))
}

func hintFor(name string, fs *pflag.FlagSet) string {
	if f := fs.Lookup(strings.ToLower(name)); f != nil && canonical(fs, f) != f {
		return ": write " + canonical(fs, f).Name
	}
	return ""
}
