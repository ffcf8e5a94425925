package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/pflag"
)

// value is a flag whose text is parsed when it is met, so that a mistake is reported with the flag's name.
type value struct {
	set  func(string) error
	text string
	typ  string
	bool bool
	list bool // repeating adds
}

func (v *value) String() string   { return v.text }
func (v *value) Type() string     { return v.typ }
func (v *value) IsBoolFlag() bool { return v.bool }

func (v *value) Set(s string) error {
	if err := v.set(s); err != nil {
		return err
	}
	v.text = s
	return nil
}

// checkValues looks at what no flag can mean: nothing, but for the one that can be switched off by it, and what is no text.
func checkValues(fs *pflag.FlagSet) (err error) {
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Changed && err == nil {
			err = checkValue(f, "--"+canonicalName(f), f.Value.String())
		}
	})
	return err
}

func checkValue(f *pflag.Flag, spelled, val string) error {
	switch {
	case strings.TrimSpace(val) == "" && f.Name != "detach-keys":
		return usagef("%s: the value is empty: is a variable of the unit or script not set?", spelled)
	case !utf8.ValidString(val): // JSON would change it
		return usagef("%s: %.100q is no UTF-8 text", spelled, val)
	}
	return nil
}

// oneVar defines a flag that parse turns into *dst.
func oneVar[T any](fs *pflag.FlagSet, dst *T, name, typ, usage string, parse func(string) (T, error)) {
	fs.Var(&value{typ: typ, set: func(s string) (err error) { *dst, err = parse(s); return err }}, name, usage)
}

// listVar defines a flag that may be repeated: each occurrence appends to *dst.
func listVar[T any](fs *pflag.FlagSet, dst *[]T, name, typ, usage string, parse func(string) (T, error)) {
	fs.Var(&value{typ: typ, list: true, set: func(s string) error {
		v, err := parse(s)
		if err == nil {
			*dst = append(*dst, v)
		}
		return err
	}}, name, usage)
}

// listsVar is listVar for a text that holds several.
func listsVar[T any](fs *pflag.FlagSet, dst *[]T, name, typ, usage string, parse func(string) ([]T, error)) {
	fs.Var(&value{typ: typ, list: true, set: func(s string) error {
		v, err := parse(s)
		*dst = append(*dst, v...)
		return err
	}}, name, usage)
}

// mapVar defines a repeatable NAME=VALUE flag.
func mapVar(fs *pflag.FlagSet, dst *map[string]string, name, usage string) {
	fs.Var(&value{typ: "NAME=VALUE", list: true, set: func(s string) error {
		k, v, _ := strings.Cut(s, "=")
		if k == "" {
			return fmt.Errorf("%q: want NAME=VALUE", s)
		}
		if *dst == nil {
			*dst = map[string]string{}
		}
		(*dst)[k] = v
		return nil
	}}, name, usage)
}

// alias defines name, and a one-letter form of it, as another spelling of the flag of. Help does not list it.
func alias(fs *pflag.FlagSet, name, short, of string) {
	f := fs.Lookup(of)
	if name == "" {
		name = "alias-" + short
	}
	fs.AddFlag(&pflag.Flag{
		Name: name, Shorthand: short, Usage: "same as --" + of, Value: f.Value, NoOptDefVal: f.NoOptDefVal, Hidden: true,
		Annotations: map[string][]string{aliasOf: {of}},
	})
}

const aliasOf = "gantry-alias-of"

// canonical is the flag that f is another spelling of, or f.
func canonical(fs *pflag.FlagSet, f *pflag.Flag) *pflag.Flag {
	if len(f.Annotations[aliasOf]) > 0 {
		return fs.Lookup(canonicalName(f))
	}
	return f
}

func canonicalName(f *pflag.Flag) string {
	if of := f.Annotations[aliasOf]; len(of) > 0 {
		return of[0]
	}
	return f.Name
}

// yesNoVar defines a flag that may stand alone and, as with rkt, say yes or no.
func yesNoVar(fs *pflag.FlagSet, dst *bool, name, usage string) {
	fs.AddFlag(&pflag.Flag{Name: name, Usage: usage, NoOptDefVal: "true", Value: &value{typ: "bool", bool: true, set: func(s string) (err error) {
		switch s {
		case "yes":
			*dst = true
		case "no":
			*dst = false
		default:
			*dst, err = strconv.ParseBool(s)
		}
		return err
	}}})
}

// refusedVar defines a flag that people know and that cannot do what it says: it fails with why, and is never silently ignored. The
// value in without, if any, asks for what is the case anyway.
func refusedVar(fs *pflag.FlagSet, name, why, without string) *pflag.Flag {
	f := &pflag.Flag{Name: name, Usage: why, Hidden: true, Value: &value{typ: "VALUE", set: func(s string) error {
		if s == without {
			return nil
		}
		return errors.New(why)
	}}}
	fs.AddFlag(f)
	return f
}

// noMetadataVar defines rkt's flag for the metadata service, which gantry has not.
func noMetadataVar(fs *pflag.FlagSet) {
	refusedVar(fs, "mds-register", "there is no metadata service: apps have GANTRY_POD and GANTRY_APP in their environment", "false").NoOptDefVal = "true"
}

// parseDuration takes what time.ParseDuration takes, plain seconds, and days.
func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if n, numErr := strconv.ParseUint(s, 10, 32); numErr == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, numErr := strconv.ParseUint(days, 10, 16); numErr == nil {
			d, err = time.Duration(n)*24*time.Hour, nil
		}
	}
	if err != nil || d < 0 || d > 100*365*24*time.Hour {
		return 0, fmt.Errorf("%q: want a duration such as 30s, 12h or 2d, of 100 years at most", s)
	}
	return d, nil
}
