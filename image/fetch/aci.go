package fetch

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/aci"
	"github.com/gantryrun/gantry/image/order"
	"github.com/gantryrun/gantry/image/signature"
	"github.com/gantryrun/gantry/image/trust"
)

// maxSignature of a detached OpenPGP signature.
const maxSignature = 64 << 10

// appcFile is an ACI's bytes: a file of the user's, or one of ours without a name.
type appcFile struct {
	*os.File
	size int64
}

func (f appcFile) Size() int64 { return f.size }

// appcImage is a converted ACI as a source: an OCI image whose layers lie in files without names.
type appcImage struct {
	*aci.Image
	files    []*os.File
	evidence image.Evidence
	caching  image.Caching
}

func (a *appcImage) root(context.Context) ([]byte, string, error) {
	return a.Manifest, ocispec.MediaTypeImageManifest, nil
}

func (a *appcImage) manifest(context.Context, ocispec.Descriptor) ([]byte, string, error) {
	return a.Manifest, ocispec.MediaTypeImageManifest, nil
}

func (a *appcImage) blob(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if digest.FromBytes(a.Config) == desc.Digest {
		return io.NopCloser(bytes.NewReader(a.Config)), nil
	}
	for i, l := range a.Layers {
		if l.DiffID == desc.Digest {
			return io.NopCloser(io.NewSectionReader(a.files[i], 0, l.Size)), nil
		}
	}
	return nil, fmt.Errorf("%w: blob %s", image.ErrNotFound, desc.Digest)
}

func (a *appcImage) close() error {
	var errs []error
	for _, f := range a.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// appcFetch converts ACIs for one Fetch.
type appcFetch struct {
	*Client
	opts     order.Options
	platform ocispec.Platform
	result   *appcImage
	stored   *image.Image  // what the URL led to before, if that may be used today
	caching  image.Caching // of what it leads to now
}

// withAppc calls use with the ACI in f, converted. verified says by what f was let in.
func (a *appcFetch) withAppc(ctx context.Context, f appcFile, verified image.Evidence, use func(source) error) (err error) {
	a.result = &appcImage{evidence: verified, caching: a.caching}
	a.stored = nil         // what it depends on has other URLs
	defer a.result.close() // of files that nobody else has
	a.result.Image, err = aci.Convert(ctx, f, aci.Env{Platform: a.platform, Depend: a.depend, Create: a.create, Limit: a.Limits.bytes})
	if err != nil {
		return err
	}
	a.result.evidence.Archive = a.result.ID
	return use(a.result)
}

func (a *appcFetch) create() (io.Writer, error) {
	f, err := a.Store.Scratch()
	if err == nil {
		a.result.files = append(a.result.files, f)
	}
	return f, err
}

// depend finds, fetches and verifies what an ACI depends on, by discovery.
func (a *appcFetch) depend(ctx context.Context, w aci.Wanted) (aci.File, error) {
	own := &appcFetch{Client: a.Client, opts: a.opts, platform: a.platform}
	own.opts.Signature = "" // that is of the image which was asked for
	f, _, err := own.discover(ctx, w)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// openAppcFile opens what ref names if it is a file, and an ACI.
func openAppcFile(ref image.Ref) (appcFile, bool) {
	if ref.Kind != image.File {
		return appcFile{}, false
	}
	f, err := os.OpenFile(ref.Path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return appcFile{}, false // openLocal says why
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || !aci.Sniff(f) {
		f.Close()
		return appcFile{}, false
	}
	return appcFile{f, info.Size()}, true
}

// withLocalAppc: a file has no name that a rule could be for; what is asked of all names, is asked of it, and the
// signature lies beside it.
func (a *appcFetch) withLocalAppc(ctx context.Context, f appcFile, use func(source) error) error {
	if a.Trust == nil || a.Trust.For("").Require == trust.Digest {
		evidence, err := a.vouch("", nil, nil)
		if err != nil {
			return err
		}
		return a.withAppc(ctx, f, evidence, use)
	}
	sig, err := readSignature(cmp.Or(a.opts.Signature, f.Name()+".asc"))
	if err != nil {
		return err
	}
	own, err := a.copyOf(f) // so that what is verified is what is used
	if err != nil {
		return err
	}
	defer own.Close()
	evidence, err := a.vouch("", &own, sig)
	if err != nil {
		return err
	}
	return a.withAppc(ctx, own, evidence, use)
}

func (a *appcFetch) copyOf(f appcFile) (appcFile, error) {
	own, err := a.Store.Scratch()
	if err != nil {
		return appcFile{}, err
	}
	if _, err = f.Seek(0, io.SeekStart); err == nil {
		_, err = io.Copy(own, io.LimitReader(f, f.size))
	}
	if err != nil {
		return appcFile{}, errors.Join(err, own.Close())
	}
	return appcFile{own, f.size}, nil
}

// readSignature reads a signature beside a file; nil where there is none.
func readSignature(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSignature))
}

// vouch asks the policy about an ACI. Without a policy, and without a file (where none has to be signed), nothing is read.
func (a *appcFetch) vouch(name string, f *appcFile, sig []byte) (image.Evidence, error) {
	if a.Trust == nil {
		return image.Evidence{}, nil
	}
	if f == nil {
		return signature.VerifyFile(a.Trust, name, nil, sig, "")
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return image.Evidence{}, err
	}
	subject, err := digest.FromReader(f)
	if err != nil {
		return image.Evidence{}, err
	}
	return signature.VerifyFile(a.Trust, name, f, sig, subject)
}

// bytes that an ACI of so many may become.
func (l Limits) bytes(size int64) int64 {
	most, ratio := orDefault(l.MaxLayerSize, defaultMaxLayer), orDefault(l.MaxRatio, defaultMaxRatio)
	if size > most/ratio { // before the product overflows
		return most
	}
	return min(most, max(orDefault(l.RatioFrom, defaultRatioFrom), size*ratio))
}
