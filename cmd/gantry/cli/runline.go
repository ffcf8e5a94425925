package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/gantryrun/gantry/pods/printable"
)

// The line of run and prepare, as rkt had it; pflag knows no ---.
//
//	[pod flags] IMAGE [app flags] [-- ARG... ---] IMAGE [app flags] ...
//
// Flags up to the first image are the pod's; flags after an image are that app's; -- starts the app's arguments and ---
// ends them, so that another image can follow. One --- too many at the end is harmless: generated units have it.
// A flag after an image that no app has is the pod's, as with rkt: IMAGE --net=host --exec=/x is in many units.
type runLine struct {
	pod    *pflag.FlagSet
	newApp func() (*pflag.FlagSet, *appOptions)

	apps []*appOptions
	// early are app flags that stand before the image, where docker and podman want them. With one app it is clear
	// whose they are.
	early []earlyFlag

	words []lineWord // the line as it was understood

	current *pflag.FlagSet // the last image's, nil before the first
	lookup  *pflag.FlagSet // any app's: to know the names before the first image
}

type earlyFlag struct{ name, value string }

// lineWord is a flag with its value; or an image, an argument or what sets them apart.
type lineWord struct {
	flag  *pflag.Flag // nil: none
	text  string      // of a flag: how it was spelled
	value string
	image bool
}

// parseRunLine sorts args into the pod's flag set and one appOptions per image.
func parseRunLine(args []string, pod *pflag.FlagSet, newApp func() (*pflag.FlagSet, *appOptions)) (*runLine, error) {
	l := &runLine{pod: pod, newApp: newApp}
	l.lookup, _ = newApp()
	if err := l.parse(args); err != nil {
		return nil, usageError{err}
	}
	if err := l.applyEarly(); err != nil {
		return nil, usageError{err}
	}
	return l, nil
}

func (l *runLine) parse(args []string) error {
	for len(args) > 0 {
		var err error
		switch arg := args[0]; {
		case arg == "---":
			args = args[1:]
			l.words = append(l.words, lineWord{text: arg})
			if l.current == nil {
				return fmt.Errorf("--- ends the arguments of an app: there is no image before it")
			}
		case arg == "--":
			args, err = l.appArgs(args[1:])
		case strings.HasPrefix(arg, "--"):
			args, err = l.long(args)
		case strings.HasPrefix(arg, "-") && arg != "-":
			args, err = l.short(args)
		case arg == "":
			return fmt.Errorf("an image's name is empty: is a variable of the unit or script not set?")
		default:
			l.image(arg)
			args = args[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *runLine) image(name string) {
	fs, app := l.newApp()
	app.image = name
	l.apps = append(l.apps, app)
	l.words = append(l.words, lineWord{text: name, image: true})
	l.current = fs
}

// appArgs takes the arguments of the last app up to ---.
func (l *runLine) appArgs(args []string) ([]string, error) {
	if l.current == nil {
		return nil, fmt.Errorf("-- starts the arguments of an app: write it after the image")
	}
	app := l.apps[len(l.apps)-1]
	if app.args != nil {
		return nil, fmt.Errorf("%s has arguments twice: end them with --- before the next image", printable.Text(app.image))
	}
	app.args = []string{}
	l.words = append(l.words, lineWord{text: "--"})
	for i, a := range args {
		l.words = append(l.words, lineWord{text: a})
		if a == "---" {
			return args[i+1:], nil
		}
		app.args = append(app.args, a)
	}
	return nil, nil
}

// long handles --name, --name=value and --name value.
func (l *runLine) long(args []string) ([]string, error) {
	name, val, given := strings.Cut(args[0][2:], "=")
	f, err := l.find(func(fs *pflag.FlagSet) *pflag.Flag { return fs.Lookup(name) }, "--"+name)
	if err != nil {
		return nil, err
	}
	rest := args[1:]
	if !given {
		if val, rest, err = takeValue(f, "--"+name, rest); err != nil {
			return nil, err
		}
	}
	return rest, l.set(f, "--"+name, val)
}

// short handles -x, -x value, -xvalue and -xy where x takes no value.
func (l *runLine) short(args []string) ([]string, error) {
	letters, rest := args[0][1:], args[1:]
	for letters != "" {
		c := letters[:1]
		f, err := l.find(func(fs *pflag.FlagSet) *pflag.Flag {
			if c[0] >= 0x80 {
				return nil
			}
			return fs.ShorthandLookup(c)
		}, "-"+c)
		if err != nil {
			return nil, err
		}
		letters = letters[1:]
		var val string
		switch {
		case f.NoOptDefVal != "" && !strings.HasPrefix(letters, "="):
			val = f.NoOptDefVal
		case letters != "":
			val, letters = strings.TrimPrefix(letters, "="), ""
		default:
			if val, rest, err = takeValue(f, "-"+c, rest); err != nil {
				return nil, err
			}
		}
		if err := l.set(f, "-"+c, val); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// takeValue gives f what it needs of the arguments that follow it.
func takeValue(f *pflag.Flag, spelled string, rest []string) (string, []string, error) {
	switch {
	case f.NoOptDefVal != "" && f.Annotations[optionalValue] == nil:
		return f.NoOptDefVal, rest, nil
	case f.NoOptDefVal != "" && (len(rest) == 0 || strings.HasPrefix(rest[0], "-")):
		return f.NoOptDefVal, rest, nil
	case len(rest) == 0 || rest[0] == "--" || rest[0] == "---":
		name, _ := pflag.UnquoteUsage(f)
		return "", nil, fmt.Errorf("%s needs a value: %s=%s", spelled, spelled, name)
	}
	return rest[0], rest[1:], nil
}

// optionalValue marks a flag that may stand alone and still takes the next word as its value: `--net`, `--net host`.
const optionalValue = "gantry-optional-value"

// find looks name up where the line is now, and says where it belongs if that is elsewhere.
func (l *runLine) find(in func(*pflag.FlagSet) *pflag.Flag, spelled string) (*pflag.Flag, error) {
	if l.current != nil {
		if f := in(l.current); f != nil {
			return f, nil
		}
	}
	if f := in(l.pod); f != nil {
		return f, nil
	}
	if l.current == nil {
		if f := in(l.lookup); f != nil {
			return f, nil
		}
	}
	return nil, unknownFlag(spelled, l.pod, l.lookup)
}

func (l *runLine) set(f *pflag.Flag, spelled, val string) error {
	l.words = append(l.words, lineWord{flag: f, text: spelled, value: val})
	if f.Name == "help" {
		return fmt.Errorf("%s asks for help: write it alone; the pod's host name is --hostname=NAME", spelled)
	}
	if l.current == nil && l.lookup.Lookup(f.Name) == f {
		l.early = append(l.early, earlyFlag{f.Name, val})
		return nil
	}
	if l.current != nil && l.current.Lookup(f.Name) == f {
		f = canonical(l.current, f)
	}
	return setFlag(f, spelled, val)
}

func setFlag(f *pflag.Flag, spelled, val string) error {
	if err := checkValue(f, spelled, val); err != nil {
		return err
	}
	if err := f.Value.Set(val); err != nil {
		return fmt.Errorf("%s: %w", spelled, flagError(err, val))
	}
	f.Changed = true
	return nil
}

func (l *runLine) applyEarly() error {
	if len(l.early) == 0 || len(l.apps) == 0 {
		return nil
	}
	if len(l.apps) > 1 {
		second := l.apps[1].image
		return argumentHint(fmt.Errorf("--%s is a flag of an app: write it after the image of the app that it is for (%s is an image, too)", l.early[0].name, printable.Text(second)), l.apps)
	}
	// What stands after the image is more specific: it is not overwritten. Lists take both.
	for _, e := range l.early {
		f := canonical(l.current, l.current.Lookup(e.name))
		if f.Changed && !isList(f) {
			continue
		}
		if err := setFlag(f, "--"+e.name, e.value); err != nil {
			return err
		}
	}
	return nil
}

// argumentHint adds to err about an image, if that looks like a word of the command line that podman would hand to the app, or is a file.
func argumentHint(err error, apps []*appOptions) error {
	for i, a := range apps {
		if hinted := fileHint(err, a.image); hinted != nil {
			return hinted
		}
		word := strings.HasPrefix(a.image, "/") || !strings.ContainsAny(a.image, ":/@")
		if i > 0 && word && a.image != "" && strings.Contains(err.Error(), a.image) {
			return withHint(err, "if %s is meant for the app, write it after --: gantry run %s -- %s", a.image, apps[0].image, a.image)
		}
	}
	return err
}
