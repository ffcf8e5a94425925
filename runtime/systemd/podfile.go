package systemd

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// podFile is a pod as /etc/gantry/pods.d has it, in systemd's own syntax:
//
//	[Pod]            each KeyName=value is the flag --key-name=value of run
//	[App NAME]       Image= and Args=, and the flags of an app, in the order of the file
//	[Unit] [Service] [Install]    go into the unit as they are
type podFile struct {
	pod     []string // words
	apps    []podApp
	unit    []string // lines
	service []string
	install []string
}

type podApp struct {
	name, image, args string
	flags             []string // words
}

// ownSettings are what a unit of a pod cannot leave to others; ownFlags are those of its line: the unit's process is the supervisor, has no
// terminal, and ExecStopPost= knows the pod by its file.
var (
	ownSettings = map[string]bool{"ExecStart": true, "Type": true, "Delegate": true}
	ownFlags    = map[string]bool{"detach": true, "interactive": true, "tty": true, "uuid-file-save": true, "cidfile": true}
)

// parsePodFile reads a pod file. Its errors name the line.
func parsePodFile(text string) (*podFile, error) {
	f := &podFile{}
	section := ""
	lines := strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") // systemd takes a byte order mark too
	for n := 0; n < len(lines); n++ {
		at := n + 1
		line := strings.TrimSpace(lines[n])
		for !comment(line) && continued(line) && n+1 < len(lines) {
			if n++; !comment(strings.TrimSpace(lines[n])) {
				line = strings.TrimSuffix(line, `\`) + " " + strings.TrimSpace(lines[n])
			}
		}
		var err error
		switch {
		case line == "" || comment(line):
		case !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' }):
			err = fmt.Errorf("%q is no text", line)
		case line[0] == '[':
			section, err = f.open(line)
		default:
			err = f.set(section, line)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", at, err)
		}
	}
	if len(f.apps) == 0 {
		return nil, fmt.Errorf("no section [App NAME]")
	}
	for _, a := range f.apps {
		if a.image == "" {
			return nil, fmt.Errorf("[App %s] has no Image=", a.name)
		}
	}
	return f, nil
}

// comment, wherever it stands: between a line and what continues it, too (systemd.syntax(7)).
func comment(line string) bool { return strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") }

// continued: a backslash that no other one escapes ends the line.
func continued(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

// open begins a section.
func (f *podFile) open(line string) (string, error) {
	name, ok := strings.CutSuffix(line[1:], "]")
	if app, isApp := strings.CutPrefix(name, "App "); ok && isApp && strings.TrimSpace(app) != "" {
		app = strings.TrimSpace(app)
		if slices.ContainsFunc(f.apps, func(a podApp) bool { return a.name == app }) {
			return "", fmt.Errorf("a second section [App %s]", app)
		}
		f.apps = append(f.apps, podApp{name: app})
		return "App", nil
	}
	switch name {
	case "Pod", "Unit", "Service", "Install":
		if ok {
			return name, nil
		}
	}
	return "", fmt.Errorf("%q: want [Pod], [App NAME], [Unit], [Service] or [Install]", line)
}

func (f *podFile) set(section, line string) error {
	key, value, ok := strings.Cut(line, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if !ok || key == "" {
		return fmt.Errorf("%q: want KEY=VALUE", line)
	}
	switch section {
	case "Unit":
		f.unit = append(f.unit, line)
	case "Install":
		f.install = append(f.install, line)
	case "Service":
		if ownSettings[key] {
			return fmt.Errorf("%s= is the pod's: it cannot be set", key)
		}
		f.service = append(f.service, line)
	case "Pod":
		if ownFlags[flagName(key)] {
			return fmt.Errorf("%s= is not for a pod that is a unit", key)
		}
		f.pod = append(f.pod, Quote("--"+flagName(key)+"="+value))
	case "App":
		a := &f.apps[len(f.apps)-1]
		switch key {
		case "Image":
			a.image = value
		case "Args":
			a.args = value // systemd's to take apart
		case "Name", "name":
			return fmt.Errorf("%s=: the app's name is in its section, [App NAME]", key)
		default:
			a.flags = append(a.flags, Quote("--"+flagName(key)+"="+value))
		}
	default:
		return fmt.Errorf("%q stands before any section", line)
	}
	return nil
}

// flagName is "set-env" of "SetEnv" and "dns-search" of "DNSSearch".
func flagName(key string) string {
	var b strings.Builder
	runes := []rune(key)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 {
			before, after := runes[i-1], rune(0)
			if i+1 < len(runes) {
				after = runes[i+1]
			}
			if !unicode.IsUpper(before) && before != '-' || unicode.IsUpper(before) && unicode.IsLower(after) {
				b.WriteByte('-')
			}
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// run is the run line of the pod.
func (f *podFile) run() []string {
	words := append([]string{"--uuid-file-save=" + DefaultUUIDFile}, f.pod...)
	for _, a := range f.apps {
		words = append(words, Quote(a.image), Quote("--name="+a.name))
		words = append(words, a.flags...)
		if a.args != "" {
			words = append(words, "--", a.args, "---")
		}
	}
	return words
}
