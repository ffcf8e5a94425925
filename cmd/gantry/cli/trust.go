package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/order"
	"github.com/gantryrun/gantry/image/trust"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/pods/printable"
)

type trustOptions struct {
	prefix             string
	root, list, remove bool
	skipReview         bool
	format             string
}

func newTrustCommand(e *env) *cobra.Command {
	o := trustOptions{}
	cmd := verb("trust {--prefix=PREFIX | --root} [--remove] KEY...", "Trust keys to sign images whose names begin with a prefix", nil)
	cmd.Use += "\n  gantry trust --list [--prefix=PREFIX | --root]"
	cmd.Long = "Trust public keys (cosign's PEM files, or OpenPGP keys) to sign the images below a prefix of names, by whole\n" +
		"components; from then on these images need a signature. --remove takes files or fingerprints."
	fs := cmd.Flags()
	fs.StringVar(&o.prefix, "prefix", "", "`PREFIX` of names: HOST[:PORT][/PATH]")
	fs.BoolVar(&o.root, "root", false, "for every name")
	fs.BoolVar(&o.list, "list", false, "list the keys that are trusted")
	fs.BoolVar(&o.remove, "remove", false, "end the trust in keys")
	fs.BoolVar(&o.skipReview, "skip-fingerprint-review", false, "do not ask on a terminal whether the fingerprint is right")
	formatVar(fs, &o.format)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return runTrust(cmd.Context(), e, o, args) }
	return cmd
}

func runTrust(ctx context.Context, e *env, o trustOptions, args []string) error {
	if o.prefix != "" && o.root {
		return usagef("--prefix and --root: want one of them")
	}
	if o.prefix != "" {
		prefix, err := trust.CheckPrefix(o.prefix)
		if err != nil {
			return usageError{err}
		}
		o.prefix = prefix
	}
	switch {
	case o.list && (o.remove || len(args) > 0):
		return usagef("--list takes no keys")
	case o.list:
		return listTrust(ctx, e, o)
	case o.prefix == "" && !o.root:
		return withHint(usagef("for which names: want --prefix=PREFIX or --root"), "a prefix is HOST[:PORT][/PATH], such as registry.example/team")
	case len(args) == 0:
		return usagef("no key given: want a file with one public key, PEM or OpenPGP")
	}
	if err := e.ownedConfig(); err != nil {
		return err
	}
	for _, arg := range args {
		if err := ctx.Err(); err != nil {
			return err
		}
		step := addTrust
		if o.remove {
			step = removeTrust
		}
		if err := step(ctx, e, o, arg); err != nil {
			return err
		}
	}
	return nil
}

// addTrust shows what is about to be trusted, asks on a terminal, and stores the key in the local configuration.
func addTrust(ctx context.Context, e *env, o trustOptions, path string) error {
	keys, err := e.readKeys(ctx, path)
	if err != nil {
		return err
	}
	key := keys[0]
	fmt.Fprintf(e.stderr, "prefix: %s\nkey: %s\nfingerprint: %s\n", scopeName(o.prefix), printable.Text(key.Kind), key.Fingerprint)
	if !o.skipReview && path != "-" && term.IsTerminal(int(e.stdin.Fd())) {
		fmt.Fprint(e.stderr, "Is this the key that you want to trust (yes/no)? ")
		answer, _ := bufio.NewReader(e.stdin).ReadString('\n')
		if strings.TrimSpace(answer) != "yes" {
			return errors.New("not trusted: the answer was not yes")
		}
	}
	if _, err := trust.Add(e.localConfig, o.prefix, key); err != nil {
		return err
	}
	fmt.Fprintln(e.stdout, key.Fingerprint)
	return nil
}

// ownedConfig refuses a configuration that somebody other than root may change: a key there would mean nothing.
func (e *env) ownedConfig() error {
	if os.Geteuid() != 0 {
		return nil
	}
	return pods.CheckOwners(e.localConfig)
}

func removeTrust(ctx context.Context, e *env, o trustOptions, arg string) error {
	fingerprint := strings.ToLower(strings.ReplaceAll(arg, " ", ""))
	if !trust.IsFingerprint(fingerprint) {
		keys, err := e.readKeys(ctx, arg)
		if err != nil {
			return err
		}
		fingerprint = keys[0].Fingerprint
	}
	if err := trust.Remove(e.configDirs().List(), o.prefix, fingerprint); err != nil {
		return err
	}
	fmt.Fprintln(e.stdout, fingerprint)
	return nil
}

// readKeys reads the public keys in files, one in each.
func (e *env) readKeys(ctx context.Context, paths ...string) ([]trust.Key, error) {
	var files []order.Key
	for _, path := range paths {
		data, err := e.readKeyFile(path)
		if err != nil {
			return nil, err
		}
		files = append(files, order.Key{File: path, Data: data})
	}
	r, err := e.runtime()
	if err != nil {
		return nil, err
	}
	c, err := e.orders(r)
	if err != nil {
		return nil, err
	}
	return c.Keys(ctx, files)
}

func (e *env) readKeyFile(path string) ([]byte, error) {
	const most = 1 << 20
	f := e.stdin
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, err
		}
		defer f.Close()
	}
	return io.ReadAll(io.LimitReader(f, most))
}

// trustJSON is what --format=json says of a trusted key.
type trustJSON struct {
	Prefix      string `json:"prefix"`
	Fingerprint string `json:"fingerprint"`
	Kind        string `json:"kind,omitempty"`
	File        string `json:"file,omitempty"`
	Masked      bool   `json:"masked,omitempty"`
}

func listTrust(ctx context.Context, e *env, o trustOptions) error {
	p, err := trust.Load(e.configDirs().List())
	if err != nil {
		return err
	}
	list := []trustJSON{}
	var paths []string
	for _, t := range p.List() {
		if (o.root && t.Prefix != "") || (o.prefix != "" && t.Prefix != o.prefix) {
			continue
		}
		list = append(list, trustJSON{Prefix: t.Prefix, Fingerprint: t.Fingerprint, File: t.Path, Masked: t.Path == ""})
		if t.Path != "" {
			paths = append(paths, t.Path)
		}
	}
	if len(paths) > 0 {
		keys, err := e.readKeys(ctx, paths...)
		if err != nil {
			return err
		}
		for i := range list {
			if !list[i].Masked {
				list[i].Kind, keys = keys[0].Kind, keys[1:]
			}
		}
	}
	if isJSON(o.format) {
		return writeJSON(e.stdout, list)
	}
	for _, j := range list {
		kind := j.Kind
		if j.Masked {
			kind = "(masked)"
		}
		fmt.Fprintf(e.stdout, "%s\t%s\t%s\n", scopeName(j.Prefix), j.Fingerprint, printable.Text(kind))
	}
	return nil
}

func scopeName(prefix string) string {
	if prefix == "" {
		return "(all names)"
	}
	return prefix
}

func (e *env) addRollback(fs *pflag.FlagSet) {
	fs.BoolVar(&e.allowRollback, "allow-rollback", false, "let a tag lead back to an image that it led to before")
}

// trustPolicy is what the configuration says of trust; nil if the user switched that off.
func (e *env) trustPolicy() (*trust.Policy, error) {
	if e.insecure["image"] {
		return nil, nil
	}
	return trust.Load(e.configDirs().List())
}

// recheck asks the policy of now about an image that is in the store already: it may have come in under another one, or
// under none. An image that is asked for by its ID has to pass under each of its names: a rule for one of them is not to
// be passed by with the digest.
func (e *env) recheck(store *image.Store) func(context.Context, image.Ref, *image.Image) error {
	return func(ctx context.Context, ref image.Ref, img *image.Image) error {
		p, err := e.trustPolicy()
		if err != nil || p == nil {
			return err
		}
		if ref.Kind != image.ID {
			return recheckName(p, ref, img)
		}
		if len(img.Names) == 0 {
			return p.Recheck("", image.Evidence{})
		}
		for _, name := range img.Names {
			ref, err := image.ParseRef(name)
			if err != nil {
				return err
			}
			named, err := store.Get(ctx, ref)
			if errors.Is(err, image.ErrNotFound) {
				continue // removed meanwhile
			}
			if err == nil {
				err = recheckName(p, ref, named)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

func recheckName(p *trust.Policy, ref image.Ref, img *image.Image) error {
	name, err := trust.NameOf(ref)
	if err == nil {
		err = p.Recheck(name, img.Evidence)
	}
	if errors.Is(err, trust.ErrUntrusted) {
		return withHint(err, "gantry fetch %s verifies it; --insecure-options=image runs it as it is", ref)
	}
	return err
}
