package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime"
	"github.com/gantryrun/gantry/runtime/config"
)

// env is what every verb gets: the streams, and the global flags.
type env struct {
	stdin, stderr *os.File
	stdout        *results

	dir, systemConfig, localConfig, userConfig string
	insecure                                   insecure
	warned                                     []string
	fetching                                   atomic.Int32
	unit                                       unitProgress
	debug                                      bool
	logFormat                                  string
	backend                                    string
	allowRollback                              bool
	giveBack                                   func() error // see interrupts
}

// insecure are the checks that are off, by CLI name.
type insecure map[string]bool

// insecureGroups are the words of --insecure-options that stand for several, and the single ones.
var insecureWords = []string{"capabilities", "http", "image", "ondisk", "paths", "pubkey", "seccomp", "tls"}

func (in insecure) add(s string) error {
	for word := range strings.SplitSeq(s, ",") {
		switch _, known := slices.BinarySearch(insecureWords, word); {
		case word == "none" || word == "":
		case known:
			in[word] = true
		case word == "all-fetch":
			in.set("image", "tls", "http", "pubkey")
		case word == "all-run":
			in.set("ondisk", "capabilities", "paths", "seccomp")
		case word == "all":
			in.set(insecureWords...)
		default:
			return fmt.Errorf("%q: want none, all-fetch, all-run, all, or some of %s", word, strings.Join(insecureWords, ","))
		}
	}
	return nil
}

func (in insecure) set(words ...string) {
	for _, w := range words {
		in[w] = true
	}
}

// warnings say what each check that is off would have done. pubkey and ondisk check nothing here, on or off.
func (in insecure) warnings() []string {
	said := map[string]string{
		"capabilities": "apps keep every capability",
		"http":         "registries may be asked without encryption",
		"image":        "signatures of images are not verified",
		"paths":        "apps see and write the host's /proc and /sys",
		"seccomp":      "apps may make every system call",
		"tls":          "certificates of registries are not verified",
	}
	var out []string
	for _, w := range insecureWords {
		if in[w] && said[w] != "" {
			out = append(out, fmt.Sprintf("--insecure-options=%s: %s", w, said[w]))
		}
	}
	return out
}

func (e *env) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&e.dir, "dir", "", "`DIR` where images and pods are (default /var/lib/gantry)")
	fs.StringVar(&e.systemConfig, "system-config", "/usr/lib/gantry", "`DIR` of the distribution's configuration")
	fs.StringVar(&e.localConfig, "local-config", "/etc/gantry", "`DIR` of this machine's configuration")
	fs.StringVar(&e.userConfig, "user-config", "", "`DIR` of the user's configuration (default ~/.config/gantry)")
	fs.Var(&value{typ: "LIST", list: true, set: e.insecure.add}, "insecure-options", "checks to switch off: none, image, tls, http, pubkey, ondisk, capabilities, paths, seccomp, all-fetch, all-run, all")
	fs.BoolVar(&e.debug, "debug", false, "say more on stderr")
	fs.StringVar(&e.logFormat, "log-format", "text", "`FORM` of errors and warnings: text or json")
	fs.StringVar(&e.backend, "store", "auto", "`KIND` of store, how trees of images are kept: auto, erofs or dir")
}

// check finishes the global flags, before any verb runs.
func (e *env) check() error {
	if e.logFormat != "text" && e.logFormat != "json" {
		format := e.logFormat
		e.logFormat = "text"
		return usagef("--log-format=%s: want text or json", format)
	}
	switch image.Backend(e.backend) {
	case image.Auto, image.Erofs, image.Dir:
	default:
		return usagef("--store=%s: want auto, erofs or dir", e.backend)
	}
	if e.userConfig == "" {
		if home, err := os.UserHomeDir(); err == nil {
			e.userConfig = filepath.Join(home, ".config", "gantry")
		}
	}
	for _, dir := range []*string{&e.dir, &e.systemConfig, &e.localConfig, &e.userConfig} {
		if *dir == "" {
			continue
		}
		var err error
		if *dir, err = filepath.Abs(*dir); err != nil { // a unit that gets them on its line has another working directory
			return err
		}
	}
	for _, w := range e.insecure.warnings() {
		if !slices.Contains(e.warned, w) { // run checks twice: global flags may stand on either side of the verb
			e.warn("%s", w)
			e.warned = append(e.warned, w)
		}
	}
	return nil
}

func (e *env) warn(format string, args ...any) {
	message := oneLine(fmt.Sprintf(format, args...))
	if e.logFormat == "json" {
		fmt.Fprintf(e.stderr, "%s\n", mustJSON(map[string]string{"level": "warning", "message": message}))
		return
	}
	fmt.Fprintf(e.stderr, "gantry: warning: %s\n", message)
}

func (e *env) configDirs() config.Dirs {
	return config.Dirs{System: e.systemConfig, Local: e.localConfig, User: e.userConfig}
}

// dataDir is --dir, else what paths.d says, else the default; absolute.
func (e *env) dataDir(c *config.Config) string { return cmp.Or(e.dir, c.Data, "/var/lib/gantry") }

// pods are the pods of --dir, for verbs that need nothing else.
func (e *env) pods() (*pods.Store, error) {
	dir := e.dir
	if dir == "" {
		c, err := config.Load(e.configDirs())
		if err != nil {
			return nil, err
		}
		dir = e.dataDir(c)
	}
	return pods.In(dir), nil
}

// runtime assembles stage0. It reads the configuration, and opens nothing else.
func (e *env) runtime() (*runtime.Runtime, error) {
	c, err := config.Load(e.configDirs())
	if err != nil {
		return nil, err
	}
	dir := e.dataDir(c)
	store, err := image.Open(dir, image.Options{Backend: image.Backend(e.backend)})
	if err != nil {
		return nil, err
	}
	r := &runtime.Runtime{
		Dir: dir, Store: store, Programs: runtime.Programs{Dir: c.Stage1Path}, Stage1: c.Stage1,
		Networks: e.networks(),
		Warn:     e.warn, JSON: e.logFormat == "json",
		Leave: e.giveBack,
	}
	r.Networks.PluginDirs = append(slices.Clone(c.CNI), r.Programs.PluginDirs()...)
	r.Trust = e.recheck(store)
	r.Fetch = func(ctx context.Context, ref image.Ref, signature string) error {
		return e.fetch(ctx, r, ref, fetchOptions{rollback: e.allowRollback, signature: signature})
	}
	return r, nil
}

// networks are those that are configured, for who needs no plugin of theirs.
func (e *env) networks() conf.Source {
	return conf.Source{Dirs: conf.Dirs(e.systemConfig, e.localConfig, e.userConfig)}
}

// needHost says in one line what is missing, before half of the work fails on a permission, or is done to the processes that a foreign
// /proc shows under the numbers of ours.
func needHost() error {
	if unix.Geteuid() != 0 {
		return withHint(fmt.Errorf("this needs root"), "run it with sudo")
	}
	switch self, err := os.Readlink("/proc/self"); {
	case err != nil:
		return withHint(fmt.Errorf("there is no /proc here"), "mount -t proc proc /proc")
	case self != strconv.Itoa(os.Getpid()):
		return withHint(fmt.Errorf("/proc is that of another PID namespace"), "mount -t proc proc /proc, as unshare --mount-proc does")
	}
	return nil
}

// openPod finds the pod that a verb's argument or --uuid-file names.
func openPod(store *pods.Store, args []string, uuidFile string) (*pods.Pod, error) {
	which, err := podArgs(args, uuidFile)
	if err != nil {
		return nil, err
	}
	if len(which) != 1 {
		return nil, usagef("one pod wanted, %d given", len(which))
	}
	return store.Open(which[0])
}

// onPod does something with the pod that a verb's argument or --uuid-file names, as root.
func onPod(e *env, which []string, uuidFile string, do func(*runtime.Runtime, *pods.Pod) error) error {
	if err := needHost(); err != nil {
		return err
	}
	r, err := e.runtime()
	if err != nil {
		return err
	}
	pod, err := openPod(r.Pods(), which, uuidFile)
	if err != nil {
		return err
	}
	defer pod.Close()
	return do(r, pod)
}

// podArgs are the pods that a verb is given.
func podArgs(args []string, uuidFile string) ([]string, error) {
	if uuidFile != "" {
		if len(args) > 0 {
			return nil, usagef("--uuid-file names the pod: give no other")
		}
		uuid, err := runtime.ReadUUIDFile(uuidFile)
		if err != nil {
			return nil, fmt.Errorf("--uuid-file: %w", err)
		}
		return []string{uuid}, nil
	}
	if len(args) == 0 {
		return nil, usagef("no pod given: want a UUID, the beginning of one, a pod's name, or --uuid-file=FILE")
	}
	return args, nil
}

// verb makes a command; the caller sets RunE.
func verb(use, short string, args cobra.PositionalArgs) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: usageArgs(args), DisableFlagsInUseLine: true}
}

// usageArgs turns cobra's complaints about the number of arguments into usage errors.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check == nil {
			return nil
		}
		if err := check(cmd, args); err != nil {
			return withHint(usageError{err}, "usage: %s", cmd.UseLine())
		}
		return nil
	}
}
