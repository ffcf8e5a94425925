package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/appc"
	"github.com/gantryrun/gantry/image/order"
	"github.com/gantryrun/gantry/image/trust"
	"github.com/gantryrun/gantry/network/conf"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime"
	"github.com/gantryrun/gantry/runtime/config"
)

type fetchOptions struct {
	full, quiet bool
	format      string
	platform    string
	keepBlobs   bool
	rollback    bool
	signature   string
	pull        runtime.PullPolicy
	name        image.Ref // of image import
}

func newFetchCommand(e *env) *cobra.Command {
	o := fetchOptions{}
	cmd := verb("fetch [flags] IMAGE...", "Fetch, verify and store images, and print their IDs", between(1, math.MaxInt))
	cmd.Aliases = []string{"pull"}
	fs := cmd.Flags()
	fs.BoolVar(&o.full, "full", false, "accepted: whole IDs are printed anyway")
	fs.BoolVarP(&o.quiet, "quiet", "q", false, "no progress on stderr")
	formatVar(fs, &o.format)
	oneVar(fs, &o.platform, "platform", "OS/ARCH[/VARIANT]", "default: this machine's", parsePlatform)
	fs.BoolVar(&o.keepBlobs, "keep-blobs", false, "keep compressed layers as they came")
	fs.BoolVar(&o.rollback, "allow-rollback", false, "let a tag lead back to an image that it led to before")
	pullVar(fs, &o.pull, runtime.PullUpdate)
	fs.StringVar(&o.signature, "signature", "", "`FILE` with the OpenPGP signature of an appc image (default: beside the image)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return runFetch(cmd.Context(), e, o, args) }
	return cmd
}

func runFetch(ctx context.Context, e *env, o fetchOptions, args []string) error {
	refs := make([]image.Ref, len(args))
	for i, a := range args {
		ref, err := image.ParseRef(a)
		if err != nil {
			return usageError{err}
		}
		refs[i] = ref
		if o.signature != "" && (len(args) > 1 || refs[i].Kind != image.ACI && refs[i].Kind != image.File) {
			return usagef("--signature: it is for one appc image; those of a registry have theirs beside them")
		}
	}
	r, err := e.runtime()
	if err != nil {
		return err
	}
	if unix.Geteuid() == 0 {
		if err := pods.CheckOwners(r.Dir); err != nil { // nor would run run what is there
			return err
		}
	}
	images := make([]*image.Image, len(refs))
	errs := make([]error, len(refs))
	limit := make(chan struct{}, 4) // images at a time; each fetches several layers at a time
	var wg sync.WaitGroup
	for i, ref := range refs {
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			images[i], errs[i] = e.fetchOne(ctx, r, ref, o)
			if hinted := fileHint(errs[i], args[i]); hinted != nil {
				errs[i] = hinted
			}
		})
	}
	wg.Wait()
	list := []imageJSON{}
	var uses map[digest.Digest]image.Usage
	if isJSON(o.format) {
		all, _ := r.Store.List(ctx) // a broken record of another image is not this command's
		uses = r.Store.Usages(all)
	}
	for _, i := range images {
		switch {
		case i == nil:
		case isJSON(o.format):
			list = append(list, toJSON(i, uses[i.ID]))
		default:
			fmt.Fprintln(e.stdout, i.ID)
		}
	}
	if isJSON(o.format) {
		errs = append(errs, writeJSON(e.stdout, list))
	}
	return errors.Join(errs...)
}

// fileHint is err with a hint, where it is about the image name, which was looked for in a registry and is a file here; else nil.
func fileHint(err error, name string) error {
	ref, bad := image.ParseRef(name)
	if err == nil || bad != nil || ref.Kind != image.Registry || !strings.Contains(err.Error(), ref.String()) {
		return nil
	}
	if _, missing := os.Stat(name); missing != nil {
		return nil
	}
	return withHint(err, "%s is also a file here: write ./%s", name, name)
}

func (e *env) fetchOne(ctx context.Context, r *runtime.Runtime, ref image.Ref, o fetchOptions) (*image.Image, error) {
	if o.pull != runtime.PullUpdate || ref.Kind == image.ID {
		i, err := r.Store.Get(ctx, ref)
		current := err == nil && !i.Outdated(ref) || err != nil && !errors.Is(err, image.ErrNotFound)
		if current || o.pull == runtime.PullNever || ref.Kind == image.ID {
			return i, err
		}
	}
	if err := e.fetch(ctx, r, ref, o); err != nil {
		return nil, err
	}
	if o.name != (image.Ref{}) {
		ref = o.name
	}
	return r.Store.Get(ctx, ref)
}

// fetch brings one image into the store, and says on stderr how far it is.
func (e *env) fetch(ctx context.Context, r *runtime.Runtime, ref image.Ref, o fetchOptions) error {
	c, err := e.orders(r)
	if err != nil {
		return err
	}
	if !o.quiet {
		p := newProgress(e.stderr, ref.String(), &e.fetching)
		defer p.end()
		c.Progress = p.event
	}
	if say := c.Progress; underUnit() {
		c.Progress = func(ev order.Event) {
			if say != nil {
				say(ev)
			}
			e.unit.event(ev)
		}
	}
	return c.Fetch(ctx, ref, order.Options{Platform: o.platform, KeepBlobs: o.keepBlobs, AllowRollback: o.rollback, Signature: o.signature, Name: o.name})
}

func parsePlatform(s string) (string, error) {
	parts := strings.Split(s, "/")
	ok := len(parts) == 2 || len(parts) == 3
	for _, p := range parts {
		ok = ok && p != "" && strings.Trim(p, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
	}
	if !ok {
		return "", fmt.Errorf("%q: want OS/ARCH[/VARIANT], such as linux/arm64", s)
	}
	return s, nil
}

// orders is who carries out what gantry-fetch does, as the global flags and the configuration want it.
func (e *env) orders(r *runtime.Runtime) (*order.Client, error) {
	path, err := r.Programs.Find(order.Program)
	return &order.Client{
		Settings: order.Settings{
			Dir: r.Dir, Backend: image.Backend(e.backend), ConfigDirs: e.configDirs().List(),
			InsecureHTTP: e.insecure["http"], InsecureTLS: e.insecure["tls"], InsecureImage: e.insecure["image"],
		},
		Path: path, Stdin: e.stdin, Stderr: e.stderr,
	}, err
}

// kindOfPart knows the errors of the parts that gantry is made of.
func kindOfPart(err error) string {
	for _, k := range []struct {
		target error
		kind   string
	}{
		{image.ErrVerify, kindUnverified}, {image.ErrManifest, kindUnverified}, {image.ErrLimit, kindUnverified},
		{image.ErrCorrupt, kindUnverified}, {image.ErrRollback, kindUnverified}, {trust.ErrUntrusted, kindUnverified},
		{appc.ErrInvalid, kindUnverified}, {appc.ErrNotFound, kindNotFound},
		{trust.ErrConfig, kindConfig}, {image.ErrConfig, kindConfig}, {image.ErrBlocked, kindConfig}, {trust.ErrKey, kindUsage},
		{image.ErrUnreachable, kindUnavailable}, {image.ErrStalled, kindUnavailable}, {image.ErrDenied, kindUnavailable},
		{image.ErrBackend, kindUnavailable}, {runtime.ErrProgram, kindUnavailable},
		{image.ErrUnsupported, kindUsage}, {image.ErrPlatform, kindUsage}, {image.ErrAmbiguous, kindUsage},
		{config.ErrConfig, kindConfig}, {conf.ErrNotFound, kindConfig},
	} {
		if errors.Is(err, k.target) {
			return k.kind
		}
	}
	return kindInternal
}
