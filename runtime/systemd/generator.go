package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
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

// unitName is what systemd takes for a name, and longer ones it does not see (systemd.unit(5)).
const (
	unitName    = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@"
	unitNameMax = 255 - len(".service")
)

func generate(file, name, out, gantry string) error {
	if strings.Trim(name, unitName) != "" || len(name) > unitNameMax || name[0] == '@' {
		return fmt.Errorf("%q is no name of a service: letters, digits and :-_.\\@ are", name)
	}
	text, err := readFile(file)
	if err != nil {
		return err
	}
	pod, err := parsePodFile(text)
	if err != nil {
		return err
	}
	unit := Unit{
		Description: "gantry pod " + name, Gantry: gantry, Run: pod.run(), UUIDFile: DefaultUUIDFile,
		Unit: append([]string{"SourcePath=" + file}, pod.unit...), Service: pod.service,
	}
	service := name + ".service"
	if err := writeFile(filepath.Join(out, service), unit.String()); err != nil {
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
	path := dir + "/" + name
	err := unix.Symlink(target, path)
	if errors.Is(err, unix.ENOENT) {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		err = unix.Symlink(target, path)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("link %s: %w", path, err)
	}
	return nil
}

// maxPodFile is more than anybody's attributes.
const maxPodFile = 16 << 20

// readFile and writeFile make the calls that it takes, where package os makes four times as many: a boot waits for hundreds of files.
func readFile(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0) // a FIFO must not hold the boot up
	if err != nil {
		return "", fmt.Errorf("open: %w", err)
	}
	defer unix.Close(fd)
	data := make([]byte, 0, 4096)
	for {
		n, err := unix.Read(fd, data[len(data):cap(data)])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return "", fmt.Errorf("read: %w", err)
		case n == 0:
			return string(data), nil
		}
		if data = data[:len(data)+n]; len(data) > maxPodFile {
			return "", fmt.Errorf("more than %d bytes", maxPodFile)
		}
		if len(data) == cap(data) {
			data = slices.Grow(data, len(data))
		}
	}
}

func writeFile(path, text string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	for data := []byte(text); len(data) > 0 && err == nil; {
		var n int
		if n, err = unix.Write(fd, data); errors.Is(err, unix.EINTR) {
			n, err = 0, nil
		}
		data = data[max(n, 0):]
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
