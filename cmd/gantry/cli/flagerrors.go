package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/gantryrun/gantry/pods/printable"
)

// flagError takes pflag's wrapping off what a value said, and names the value where it says nothing itself.
func flagError(err error, val string) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return fmt.Errorf("--%s: %w", canonicalName(invalid.GetFlag()), flagError(invalid.Unwrap(), invalid.GetValue()))
	}
	if strings.HasPrefix(err.Error(), "strconv.Parse") {
		return fmt.Errorf("%q: want true or false", val) // of pflag's own values we use only texts and bools
	}
	return err
}

// flagElsewhere says what to use for flags that people know from rkt, docker and podman.
func flagElsewhere(spelled string) string {
	switch spelled {
	case "--privileged":
		return "--insecure-options=all-run switches off capabilities, seccomp and masked paths; there is no more than that"
	case "--security-opt":
		return "--seccomp, --no-new-privileges and --unmask say it"
	case "--userns", "--uidmap", "--gidmap":
		return "say --private-users"
	case "--platform", "--arch", "--os":
		return "gantry fetch --platform fetches for another platform"
	case "--memory-swap", "--memory-reservation", "--cpuset-cpus", "--cpuset-mems":
		return "--memory and --cpu limit; what else systemd can limit are properties of the pod's unit"
	case "--shm-size":
		return "--tmpfs /dev/shm:size=SIZE says it"
	case "--log-driver", "--log-opt", "--attach", "-a":
		return "--stdout and --stderr say it"
	case "--gpus":
		return "--device says it"
	case "--cgroup-parent", "--cgroups", "--cgroupns":
		return "the pod stays in the cgroup of who starts it: start it from a unit"
	case "--ip", "--ip6", "--mac-address", "--network-alias":
		return "--net=NAME:IP=ADDRESS asks a network for an address"
	case "--publish-all", "-P", "--expose":
		return "--port says which port of the host leads to which of the pod"
	case "--health-cmd", "--no-healthcheck", "--sdnotify":
		return "--ready says when an app is ready"
	case "--secret":
		return "credentials of the unit are in the pod; -v /FILE:/PATH:ro mounts one"
	case "--authfile", "--creds":
		return "credentials are files of auth.d; those of docker and podman are read, too"
	case "--tls-verify":
		return "--insecure-options=tls,http says it"
	case "--tz":
		return "--set-env=TZ=ZONE says it"
	case "--timeout":
		return "timeout(1), or RuntimeMaxSec= of the unit"
	case "--mnt-volume":
		return "-v /SOURCE:/TARGET[:ro] says it"
	case "--trust-keys-from-https":
		return "gantry trusts no key that it was given along with the image"
	case "--private-net":
		return "--net=default says it, and so does saying nothing"
	case "--stage1-hash", "--stage1-url":
		return "gantry has stage1s of its own: --stage1-name says which"
	}
	return ""
}

// unknownFlag names the flag, and what was probably meant.
func unknownFlag(spelled string, sets ...*pflag.FlagSet) error {
	err := fmt.Errorf("unknown flag %s", printable.Text(spelled))
	if instead := flagElsewhere(spelled); instead != "" {
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
