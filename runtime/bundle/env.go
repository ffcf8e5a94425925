package bundle

import (
	"fmt"
	"strings"
)

// EnvVar is one variable of an environment.
type EnvVar struct{ Name, Value string }

// String is NAME=VALUE.
func (v EnvVar) String() string { return v.Name + "=" + v.Value }

// DefaultPath is PATH where neither the image nor the user sets one.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// ParseEnv parses NAME=VALUE. The value may hold anything, newlines included: whole configurations travel in one.
func ParseEnv(s string) (EnvVar, error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" || strings.ContainsRune(s, 0) {
		return EnvVar{}, fmt.Errorf("%q: want NAME=VALUE", clip(s))
	}
	return EnvVar{name, value}, nil
}

// ParseEnvFile parses lines of NAME=VALUE. Empty lines and those that start with # or ; are skipped; nothing is unquoted.
func ParseEnvFile(data []byte) ([]EnvVar, error) {
	var vars []EnvVar
	for n, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if t := strings.TrimSpace(line); t == "" || t[0] == '#' || t[0] == ';' {
			continue
		}
		v, err := ParseEnv(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		vars = append(vars, v)
	}
	return vars, nil
}

// serviceVars belong to the service that gantry is run by, and would lie to an app.
var serviceVars = map[string]bool{
	"NOTIFY_SOCKET": true, "LISTEN_FDS": true, "LISTEN_PID": true, "LISTEN_FDNAMES": true,
	"WATCHDOG_PID": true, "WATCHDOG_USEC": true, "INVOCATION_ID": true, "JOURNAL_STREAM": true,
	"MAINPID": true, "CREDENTIALS_DIRECTORY": true,
}

// InheritedEnv is what --inherit-env passes on of environ: all but what belongs to gantry's own service.
func InheritedEnv(environ []string) []EnvVar {
	var vars []EnvVar
	for _, s := range environ {
		if v, err := ParseEnv(s); err == nil && !serviceVars[v.Name] {
			vars = append(vars, v)
		}
	}
	return vars
}

// envSet keeps the last value of a name at the place of the first.
type envSet struct {
	list []string
	at   map[string]int
}

func (e *envSet) set(vars ...EnvVar) {
	for _, v := range vars {
		if v.Name == "HOME" && v.Value == "" {
			continue // libcontainer takes that for unset, and makes it / where the user is given by number
		}
		if i, ok := e.at[v.Name]; ok {
			e.list[i] = v.String()
			continue
		}
		e.at[v.Name] = len(e.list)
		e.list = append(e.list, v.String())
	}
}

// environment merges, weakest first: defaults, the caller's, the image's, the pod's own, files, --set-env, --environment.
func environment(in Input) []string {
	e := envSet{at: map[string]int{}}
	e.set(EnvVar{"PATH", DefaultPath}, EnvVar{"HOME", in.Identity.Home})
	if in.Identity.Name != "" {
		e.set(EnvVar{"USER", in.Identity.Name}, EnvVar{"LOGNAME", in.Identity.Name})
	}
	e.set(in.Pod.Env.Inherited...)
	for _, s := range in.Image.Config.Env {
		if v, err := ParseEnv(s); err == nil { // an image's entry that no shell could have set is not worth refusing it
			e.set(v)
		}
	}
	e.set(EnvVar{"container", "gantry"}, EnvVar{"AC_APP_NAME", in.App.Name},
		EnvVar{"GANTRY_APP", in.App.Name}, EnvVar{"GANTRY_POD", in.Pod.UUID})
	e.set(in.Pod.Env.Files...)
	e.set(in.Pod.Env.Set...)
	e.set(in.App.Environment...)
	return e.list
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
