// Package conf finds, checks and freezes the networks that a pod asks for.
//
// It knows CNI configuration files (.conflist, .conf), the networks that gantry has built in, the grammar of
// --net and --port. It reads files and nothing else: no kernel object, no plugin is touched here, so that stage0
// may import it. The invariant is that what Freeze returns is complete: tear-down needs nothing that is in /etc.
package conf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/cni/pkg/version"
)

// ErrNotFound says that no directory and no built-in network has the name that was asked for.
var ErrNotFound = errors.New("network not found")

// Source says where configured networks and plugin programs are.
type Source struct {
	// Dirs are the net.d directories; where two files define the same network, the earlier directory wins, and
	// within a directory the file whose name sorts first. Directories that do not exist count as empty.
	Dirs []string
	// PluginDirs are searched in order for the programs of plugins that are not built in.
	PluginDirs []string
}

// Dirs gives the net.d directories in the order of their authority: the user's configuration, the machine's, the
// distribution's, and last the directory that other CNI runtimes use. Empty names are left out.
func Dirs(system, local, user string) []string {
	var dirs []string
	for _, d := range []string{user, local, system} {
		if d != "" {
			dirs = append(dirs, filepath.Join(d, "net.d"))
		}
	}
	return append(dirs, sharedDir)
}

// sharedDir is where every CNI runtime of the host looks: a network that is configured there is not gantry's alone.
const sharedDir = "/etc/cni/net.d"

// Collectable says whether CNI's GC may and should be run for the network: it is configured in a directory of gantry's own, so that nobody
// else attaches to it; it is of a version that has GC; and it has a plugin that is executed, as the built-in ones leave nothing.
func (e *Entry) Collectable() bool {
	if e.File == "" || filepath.Dir(e.File) == sharedDir {
		return false
	}
	knows, err := version.GreaterThanOrEqualTo(e.CNIVersion, "1.1.0")
	return err == nil && knows && slices.ContainsFunc(e.list.Plugins, func(p *libcni.PluginConfig) bool {
		return !Builtin(p.Network.Type) || p.Network.IPAM.Type != "" && !Builtin(p.Network.IPAM.Type)
	})
}

// Entry is one network that can be asked for by name, or a file that defines none.
type Entry struct {
	Name  string   `json:"name"`
	File  string   `json:"file,omitempty"` // empty for a built-in network
	Types []string `json:"types"`          // plugin types, in the order of the chain
	// CNIVersion is of the configuration, and Capabilities are what its plugins take of a pod (portMappings, ips, …), in order.
	CNIVersion   string   `json:"cniVersion,omitempty"`
	Capabilities []string `json:"capabilities,omitempty"`
	Err          error    `json:"-"` // why the file cannot be used; it harms no other network

	list *libcni.NetworkConfigList
}

// Conflist is the network's configuration as Freeze would give it to a pod.
func (e *Entry) Conflist() ([]byte, error) { return freezeList(e.list) }

// origin names where the network comes from, for messages.
func (e *Entry) origin() string {
	if e.File == "" {
		return "built in"
	}
	return e.File
}

// List gives every network that can be asked for, the ones that win by name first in the order of the
// directories, built-in ones that nothing overrides last. Broken files are entries with Err set.
func (s Source) List() ([]Entry, error) {
	var all []Entry
	seen := map[string]bool{}
	for _, dir := range s.Dirs {
		entries, err := readDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Err == nil && seen[e.Name] {
				continue
			}
			seen[e.Name] = seen[e.Name] || e.Err == nil
			all = append(all, e)
		}
	}
	for _, e := range builtins() {
		if !seen[e.Name] {
			all = append(all, e)
		}
	}
	return all, nil
}

// Find gives the network of that name. The error of a name that is nowhere wraps ErrNotFound and names the
// directories; when some file there is broken it is named too, as it may be the one that was meant.
func (s Source) Find(name string) (Entry, error) {
	var broken []error
	for _, dir := range s.Dirs {
		entries, err := readDir(dir)
		if err != nil {
			return Entry{}, err
		}
		for _, e := range entries {
			if e.Err != nil {
				broken = append(broken, e.Err)
			} else if e.Name == name {
				return e, nil
			}
		}
	}
	for _, e := range builtins() {
		if e.Name == name {
			return e, nil
		}
	}
	err := fmt.Errorf("find network %q: %w in %s", name, ErrNotFound, strings.Join(s.Dirs, ", "))
	if len(broken) > 0 {
		err = fmt.Errorf("%w (and %w)", err, broken[0])
	}
	return Entry{}, err
}

// readDir reads the configuration files of one directory: .conflist before .conf and .json, as libcni prefers them,
// each kind in the order of file names.
func readDir(dir string) ([]Entry, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read networks: %w", err)
	}
	var lists, singles []Entry
	for _, f := range files {
		file := filepath.Join(dir, f.Name())
		switch filepath.Ext(f.Name()) {
		case ".conflist":
			lists = append(lists, readFile(file))
		case ".conf", ".json":
			singles = append(singles, readFile(file))
		}
	}
	return slices.Concat(lists, singles), nil
}

// readFile reads one configuration file, which may be a list or a single plugin in spite of its suffix.
func readFile(file string) Entry {
	data, err := readRegular(file)
	if err != nil {
		return Entry{File: file, Err: fmt.Errorf("read network %s: %w", file, err)}
	}
	e, err := parse(data, filepath.Dir(file))
	if err != nil {
		return Entry{File: file, Err: fmt.Errorf("read network %s: %w", file, err)}
	}
	e.File = file
	return e
}

// maxFile bounds a configuration; real ones have a few kilobytes.
const maxFile = 1 << 20

// readRegular reads a file that may be anything: who opens a FIFO waits for ever.
func readRegular(file string) ([]byte, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, errors.New("it is no file")
	case st.Size() > maxFile:
		return nil, fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// parse makes an entry of the bytes of a file. dir is where CNI 1.1 keeps plugins that are not inlined.
func parse(data []byte, dir string) (Entry, error) {
	var probe struct {
		Type    string          `json:"type"`
		Plugins json.RawMessage `json:"plugins"`
	}
	if err := json.Unmarshal(data, &probe); err != nil {
		return Entry{}, err
	}
	single := probe.Type != "" && probe.Plugins == nil
	if single {
		var err error
		if data, err = asList(data); err != nil {
			return Entry{}, err
		}
	}
	list, err := libcni.NetworkConfFromBytes(data)
	if err != nil {
		return Entry{}, err
	}
	if cerr := utils.ValidateNetworkName(list.Name); cerr != nil {
		return Entry{}, fmt.Errorf("name %q: %s", list.Name, cerr.Details)
	}
	if !single && !list.LoadOnlyInlinedPlugins && dir != "" {
		more, err := libcni.NetworkPluginConfsFromFiles(dir, list.Name)
		if err != nil {
			return Entry{}, err
		}
		list.Plugins = append(list.Plugins, more...)
	}
	if len(list.Plugins) == 0 {
		return Entry{}, errors.New("no plugins")
	}
	e := Entry{Name: list.Name, CNIVersion: list.CNIVersion, list: list}
	for _, p := range list.Plugins {
		e.Types = append(e.Types, p.Network.Type)
		for name, takes := range p.Network.Capabilities {
			if takes && !slices.Contains(e.Capabilities, name) {
				e.Capabilities = append(e.Capabilities, name)
			}
		}
	}
	slices.Sort(e.Capabilities)
	return e, nil
}

// asList makes a list of the configuration of a single plugin, the form of CNI before 0.3.
func asList(plugin []byte) ([]byte, error) {
	var head struct {
		Name       string `json:"name"`
		CNIVersion string `json:"cniVersion,omitempty"`
	}
	if err := json.Unmarshal(plugin, &head); err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		Name       string            `json:"name"`
		CNIVersion string            `json:"cniVersion,omitempty"`
		Plugins    []json.RawMessage `json:"plugins"`
	}{head.Name, head.CNIVersion, []json.RawMessage{plugin}})
}
