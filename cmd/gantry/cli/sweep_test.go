package cli

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/tests/ociimage"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sweepValues are what scripts give flags by mistake. None makes sense for a number, a duration, a size or a list of words.
var sweepValues = []struct{ name, value string }{
	{"empty", ""}, {"x", "x"}, {"-1", "-1"}, {"huge", "9999999999999999999"}, {"space", "a b"}, {"newline", "\n"}, {"dotdot", "../.."},
	{"long", strings.Repeat("x", 100_000)}, {"bytes", "\xff\xfe"},
}

// sweepTargets are what verbs need beside the flag to get to their work, where that changes nothing, or can be undone. Every other
// verb gets a pod that is not there.
var sweepTargets = map[string][]string{
	"list": {}, "image list": {}, "network list": {}, "config": {}, "version": {}, "metrics": {}, "check": {}, "image gc": {"--dry-run"},
	"status": {"pod"}, "inspect": {"pod"}, "logs": {"pod"}, "cat-manifest": {"pod"}, "app list": {"pod"}, "app status": {"pod"}, "network inspect": {"pod"},
	"fetch": {"IMAGE"}, "prepare": {"--store=dir", "--net=none", "IMAGE"}, "systemd unit": {"IMAGE"}, "image inspect": {"IMAGE"}, "image cat-manifest": {"IMAGE"},
	"image verify": {"IMAGE"}, "stats": {"--no-stream"}, "trust": {"--list"}, "app start": {"--app=x", "nobody"}, "app stop": {"--app=x", "nobody"},
	"app rm": {"--app=x", "nobody"},
}

// TestSweep gives every flag of every verb each of the values: never a panic, code 0 or 254, and with 254 one line that names the flag,
// nothing on stdout and nothing left behind. What is accepted is in a golden file, to be read by people.
func TestSweep(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: prepare needs root")
	}
	s := newSweep(t)
	var got strings.Builder
	got.WriteString("# What each flag takes of: empty x -1 huge space newline dotdot long bytes. Flags that take none of them are not here.\n")
	for _, f := range s.flags() {
		var accepted []string
		for _, v := range sweepValues {
			if s.accepts(f, v.value) {
				accepted = append(accepted, v.name)
			}
		}
		if len(accepted) > 0 {
			fmt.Fprintf(&got, "%s --%s: %s\n", f.verb, f.name, strings.Join(accepted, " "))
		}
	}
	const golden = "testdata/sweep.golden"
	if *update {
		if err := os.WriteFile(s.abs(golden), []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(s.abs(golden))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("what is accepted changed (-update writes %s):\n%s", golden, diff)
	}
}

// TestSweepArguments gives each verb each of the values as an argument.
func TestSweepArguments(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: prepare needs root")
	}
	s := newSweep(t)
	for _, verb := range s.verbs() {
		for _, v := range sweepValues {
			args := strings.Fields(verb)
			if slices.Contains([]string{"fetch", "run", "prepare"}, verb) {
				args = append(args, "--pull-policy=never") // no traffic
			}
			what := fmt.Sprintf("%s %.20q", verb, v.value)
			if code, _ := s.try(what, append(args, v.value)...); code == 0 && args[0] != "systemd" { // takes names of images and directories to be
				t.Errorf("%s: accepted", what)
			}
		}
	}
}

// wholeTree is gantry with all verbs.
func wholeTree() *cobra.Command {
	e := &env{insecure: insecure{}}
	root := newRoot(e)
	addVerbs(root, e, "")
	return root
}

// verbs are all but those that only hold others.
func (s *sweep) verbs() (all []string) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.HasSubCommands() {
			all = append(all, verbOf(c))
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(wholeTree())
	return all
}

// sweepFlag is a flag of a verb; of an app's it stands after the image.
type sweepFlag struct {
	verb, name string
	app        bool
}

// sweep is a data directory with an image and a prepared pod, and an empty working directory.
type sweep struct {
	*testing.T
	home, work, data, image string
}

func newSweep(t *testing.T) *sweep {
	fetchProgram(t)
	home, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &sweep{T: t, home: home, work: filepath.Join(dir, "a/b/work"), data: filepath.Join(dir, "data"), image: "oci:" + filepath.Join(dir, "image") + ":1"}
	layer, err := ociimage.Layer(ociimage.Exec("bin/true", []byte("#!/bin/true\n")), ociimage.File("etc/passwd", "root:x:0:0::/:/bin/true\n"))
	if err == nil {
		var img v1.Image
		if img, err = ociimage.Image(v1.Config{Cmd: []string{"/bin/true"}}, layer); err == nil {
			err = ociimage.WriteLayout(filepath.Join(dir, "image"), img, "1")
		}
	}
	if err == nil {
		err = os.MkdirAll(s.work, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(s.work)
	for _, args := range [][]string{{"fetch", "--store=dir", s.image}, {"prepare", "--store=dir", "--net=none", "--pod-name=pod", s.image}} {
		if code, _, stderr := s.run(args...); code != 0 {
			t.Fatalf("%v: %s", args, stderr)
		}
	}
	return s
}

func (s *sweep) abs(path string) string { return filepath.Join(s.home, path) }

// flags are those of every verb, the aliases of others left out, and the global ones once.
func (s *sweep) flags() []sweepFlag {
	all := map[sweepFlag]bool{}
	add := func(fs *pflag.FlagSet, verb string, app bool) {
		fs.VisitAll(func(f *pflag.Flag) {
			if f.Annotations[aliasOf] == nil && f.Name != "help" {
				all[sweepFlag{verb, f.Name, app}] = true
			}
		})
	}
	root := wholeTree()
	add(root.PersistentFlags(), "list", false)
	app, _ := newAppFlags()
	add(app, "prepare", true)
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if verb := verbOf(c); !slices.Contains([]string{"", "run", "app sandbox"}, verb) { // prepare has their flags, and starts nothing
			add(c.LocalNonPersistentFlags(), verb, false)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return slices.SortedFunc(maps.Keys(all), func(a, b sweepFlag) int {
		return strings.Compare(fmt.Sprintf("%s %v %s", a.verb, a.app, a.name), fmt.Sprintf("%s %v %s", b.verb, b.app, b.name))
	})
}

func (s *sweep) line(f sweepFlag, value string) []string {
	target, ok := sweepTargets[f.verb]
	if !ok {
		target = []string{"nobody"}
	}
	args := strings.Fields(f.verb)
	if !f.app {
		args = append(args, "--"+f.name+"="+value)
	}
	for _, a := range target {
		if a == "IMAGE" {
			a = s.image
		}
		args = append(args, a)
	}
	if f.app {
		args = append(args, "--"+f.name+"="+value)
	}
	return args
}

// accepts reports whether the verb took the value: it did its work, or failed on its target and not on the flag.
func (s *sweep) accepts(f sweepFlag, value string) bool {
	what := fmt.Sprintf("%s --%s=%.20q", f.verb, f.name, value)
	code, line := s.try(what, s.line(f, value)...)
	words := strings.ReplaceAll(f.name, "-", " ") // working directory "x"
	switch {
	case code == 0, strings.Contains(line, "nobody"), strings.Contains(line, "no pod given"): // the target
		return true
	case strings.Contains(line, "--"+f.name), strings.Contains(line, words), len(value) > 20 && strings.Contains(line, value[:20]):
		return false
	}
	s.Errorf("%s: the flag is not named: %s", what, line)
	return false
}

// try runs a line, and requires of its end what it owes to its user. It returns the line on stderr.
func (s *sweep) try(what string, args ...string) (int, string) {
	before := s.files()
	code, stdout, stderr := s.run(args...)
	if code == 0 {
		s.forget()
		return 0, ""
	}
	var lines []string
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "gantry: hint: ") && !strings.HasPrefix(line, "gantry: warning: ") {
			lines = append(lines, line)
		}
	}
	if code != exitGantry || stdout != "" || len(lines) != 1 || !strings.HasPrefix(stderr, "gantry: ") || strings.Contains(stderr, "internal error") ||
		!utf8.ValidString(stderr) || len(stderr) > 4096 {
		s.Errorf("%s: code %d, stdout %.100q, stderr of %d bytes: %.300q", what, code, stdout, len(stderr), stderr)
		return code, ""
	}
	if diff := cmp.Diff(before, s.files()); diff != "" {
		s.Errorf("%s: left behind:\n%s", what, diff)
	}
	return code, lines[0]
}

// forget removes what an accepted line made.
func (s *sweep) forget() {
	_, uuids, _ := s.run("list", "--quiet", "--filter=state=prepared")
	_, kept, _ := s.run("list", "--quiet", "--filter=name=pod")
	for _, uuid := range strings.Fields(uuids) {
		if uuid != strings.TrimSpace(kept) {
			if code, _, stderr := s.run("rm", uuid); code != 0 {
				s.Errorf("rm %s: %s", uuid, stderr)
			}
		}
	}
	for _, entry := range s.files()[0] {
		if err := os.RemoveAll(filepath.Join(s.work, entry)); err != nil {
			s.Error(err)
		}
	}
}

// files are the names in the working directory, and among the pods.
func (s *sweep) files() (all [2][]string) {
	for i, dir := range []string{s.work, filepath.Join(s.data, "pods")} {
		entries, err := os.ReadDir(dir)
		if err != nil && i == 0 {
			s.Fatal(err)
		}
		for _, e := range entries {
			all[i] = append(all[i], e.Name())
		}
	}
	return all
}

func (s *sweep) run(args ...string) (code int, stdout, stderr string) {
	var files [2]*os.File
	for i := range files {
		fd, err := unix.MemfdCreate("sweep", unix.MFD_CLOEXEC)
		if err != nil {
			s.Fatal(err)
		}
		files[i] = os.NewFile(uintptr(fd), "sweep")
		defer files[i].Close()
	}
	none := filepath.Join(s.data, "none")
	code = Main(append([]string{"--dir=" + s.data, "--system-config=" + none, "--local-config=" + none, "--user-config=" + none}, args...), os.Stdin, files[0], files[1])
	return code, read(s.T, files[0]), read(s.T, files[1])
}
