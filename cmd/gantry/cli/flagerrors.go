package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// flagError takes pflag's wrapping off what a value said, and names the value where it says nothing itself.
func flagError(err error, val string) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return fmt.Errorf("--%s: %w", invalid.GetFlag().Name, flagError(invalid.Unwrap(), invalid.GetValue()))
	}
	if strings.HasPrefix(err.Error(), "strconv.Parse") {
		return fmt.Errorf("%q: want true or false", val) // of pflag's own values we use only texts and bools
	}
	return err
}

// elsewhere are flags that people know from other programs, and what is done here instead.
var elsewhere = map[string]string{
	"--privileged":            "--insecure-options=all-run switches off capabilities, seccomp and masked paths; there is no more than that",
	"--init":                  "every pod has a reaper as its first process",
	"--security-opt":          "--seccomp, --no-new-privileges and --unmask say it",
	"--userns":                "say --private-users",
	"--platform":              "gantry fetch --platform fetches for another platform",
	"--memory-swap":           "--memory limits memory; swap is not limited apart",
	"--shm-size":              "--tmpfs /dev/shm:size=SIZE says it",
	"--log-driver":            "--stdout and --stderr say it",
	"--gpus":                  "--device says it",
	"--cgroup-parent":         "the pod stays in the cgroup of who starts it: start it from a unit",
	"--trust-keys-from-https": "gantry trusts no key that it was given along with the image",
	"--no-store":              "--pull-policy=update says it",
	"--store-only":            "--pull-policy=never says it",
	"--private-net":           "--net=default says it, and so does saying nothing",
	"--stage1-hash":           "gantry has stage1s of its own: --stage1-name says which",
	"--stage1-url":            "gantry has stage1s of its own: --stage1-name says which",
	"--stage1-from-dir":       "gantry has stage1s of its own: --stage1-name says which",
	"--cap-retain":            "--caps-retain says it",
	"--cap-remove":            "--caps-remove says it",
}

// unknownFlag names the flag, and what was probably meant.
func unknownFlag(spelled string, sets ...*pflag.FlagSet) error {
	err := fmt.Errorf("unknown flag %s", quoteControl(spelled))
	if instead, ok := elsewhere[spelled]; ok {
		return withHint(err, "%s", instead)
	}
	best, name := 3, ""
	for _, fs := range sets {
		fs.VisitAll(func(f *pflag.Flag) {
			if d := distance(strings.TrimLeft(spelled, "-"), f.Name); d < best && !f.Hidden {
				best, name = d, f.Name
			}
		})
	}
	if name != "" && len(spelled) > 4 {
		return withHint(err, "did you mean --%s?", name)
	}
	return withHint(err, "gantry run --help lists the flags of pods and apps; arguments of an app go after --")
}

// distance is the number of letters to change, add or drop (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// isList reports whether a repeated flag adds to what was given before.
func isList(f *pflag.Flag) bool {
	v, ok := f.Value.(*value)
	return ok && v.list
}
