package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// PodsDir is where pods that are units lie: NAME.pod becomes NAME.service, NAME@.pod a template.
const PodsDir = "/etc/gantry/pods.d"

// Generate writes a unit for each pod file of dir into out, and links it where its [Install] section wants it: what
// systemctl enable does for units that are files. A broken file breaks only its own unit; the error names all of them.
func Generate(dir, out, gantry string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".pod")
		if !ok || name == "" || name[0] == '.' {
			continue
		}
		if err := generate(filepath.Join(dir, e.Name()), name, out, gantry); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", e.Name(), err))
		}
	}
	return errors.Join(errs...)
}

func generate(file, name, out, gantry string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	pod, err := parsePodFile(string(text))
	if err != nil {
		return err
	}
	unit := Unit{
		Description: "gantry pod " + name, Gantry: gantry, Run: pod.run(), UUIDFile: DefaultUUIDFile,
		Unit: append([]string{"SourcePath=" + file}, pod.unit...), Service: pod.service,
	}
	service := name + ".service"
	if err := os.WriteFile(filepath.Join(out, service), []byte(unit.String()), 0o644); err != nil {
		return err
	}
	return install(pod.install, service, out)
}

// install makes the links of WantedBy=, RequiredBy= and Alias=. A template has them for its DefaultInstance= alone.
func install(lines []string, service, out string) error {
	settings := map[string][]string{}
	for _, l := range lines {
		key, value, _ := strings.Cut(l, "=")
		settings[strings.TrimSpace(key)] = append(settings[strings.TrimSpace(key)], strings.Fields(value)...)
	}
	linked := service
	if prefix, isTemplate := strings.CutSuffix(service, "@.service"); isTemplate {
		instance := settings["DefaultInstance"]
		if len(instance) == 0 {
			return nil
		}
		linked = prefix + "@" + instance[len(instance)-1] + ".service"
	}
	for key, suffix := range map[string]string{"WantedBy": ".wants", "RequiredBy": ".requires"} {
		for _, target := range settings[key] {
			if err := link(filepath.Join(out, filepath.Base(target)+suffix), linked, "../"+service); err != nil {
				return err
			}
		}
	}
	for _, alias := range settings["Alias"] {
		if err := link(out, filepath.Base(alias), service); err != nil {
			return err
		}
	}
	return nil
}

func link(dir, name, target string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Symlink(target, filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
