package ociimage

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// libraryPath takes the absolute paths out of what ldd says: "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)".
var libraryPath = regexp.MustCompile(`(/\S+) \(0x`)

// Program makes the entries of a layer that holds a program of this machine, as bin/NAME, and the libraries that it is linked with.
func Program(name string) ([]Entry, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, err
	}
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", path, err)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	entries := []Entry{Exec("bin/"+name, body)}
	var dirs []string
	for _, m := range libraryPath.FindAllStringSubmatch(string(out), -1) {
		lib := m[1]
		body, err := os.ReadFile(lib)
		if err != nil {
			return nil, err
		}
		for dir := filepath.Dir(lib); dir != "/"; dir = filepath.Dir(dir) {
			if name := strings.TrimPrefix(dir, "/"); !slices.Contains(dirs, name) {
				dirs = append(dirs, name)
			}
		}
		entries = append(entries, Exec(strings.TrimPrefix(lib, "/"), body))
	}
	slices.Sort(dirs) // parents first
	var layer []Entry
	for _, d := range dirs {
		layer = append(layer, Dir(d))
	}
	return append(layer, entries...), nil
}
