package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/aci"
	"github.com/gantryrun/gantry/image/order"
	"github.com/gantryrun/gantry/image/trust"
)

// appcType is what an ACI is called in HTTP (spec, aci.md).
const appcType = "application/x-appc-image"

// website is one host of appc images and discovery, under the rules for registries: transport, retries, redirects,
// limits, and credentials for this host alone.
type website struct {
	endpoint endpoint
	client   *http.Client
	guard    *guard
	pace     pace
	auth     string
}

func (c *Client) website(ctx context.Context, u *url.URL) (*website, error) {
	e := endpoint{host: u.Host, repository: strings.Trim(u.Path, "/"), plainHTTP: c.InsecureHTTP, anyCert: c.InsecureTLS}
	rules, err := readRegistries(c.ConfigDirs)
	if err != nil {
		return nil, err
	}
	rule, _ := match(rules, e.host+"/"+e.repository)
	if rule.Blocked != nil && *rule.Blocked {
		return nil, fmt.Errorf("%w: %s", image.ErrBlocked, rule.Prefix)
	}
	if rule.CA != nil {
		e.ca = *rule.CA
	}
	if rule.Insecure != nil && *rule.Insecure {
		e.plainHTTP, e.anyCert = true, true
	}
	w := &website{endpoint: e, pace: c.pace()}
	if w.guard, err = newTransport(e, w.pace.stall); err != nil {
		return nil, err
	}
	w.client = newHTTPClient(transport.NewUserAgent(&retrier{w.guard, w.pace}, "gantry"))
	w.auth, err = c.authorization(ctx, e)
	return w, err
}

// authorization for a host, as a header.
func (c *Client) authorization(ctx context.Context, e endpoint) (string, error) {
	auth, err := c.credentials(ctx, e)
	if err != nil {
		return "", err
	}
	config, err := auth.Authorization()
	if err != nil {
		return "", err
	}
	switch {
	case config.RegistryToken != "":
		return "Bearer " + config.RegistryToken, nil
	case config.Username != "":
		req := http.Request{Header: http.Header{}}
		req.SetBasicAuth(config.Username, config.Password)
		return req.Header.Get("Authorization"), nil
	}
	return "", nil
}

// get asks for url. The body has to be closed; it is bounded by the guard, unless large.
func (w *website) get(ctx context.Context, url string, large bool, header http.Header) (*http.Response, error) {
	if large {
		ctx = context.WithValue(ctx, blobKey{}, true)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if w.auth != "" {
		req.Header.Set("Authorization", w.auth)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		cancel(nil)
		return nil, explain(w.endpoint, err)
	}
	resp.Body = newStallReader(ctx, resp.Body, w.pace.stall, cancel)
	partial := resp.StatusCode == http.StatusPartialContent && header.Get("Range") != ""
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotModified && !partial {
		defer resp.Body.Close()
		return nil, w.refused(resp)
	}
	return resp, nil
}

func (w *website) refused(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%w: %s has no %q", image.ErrNotFound, w.endpoint.host, resp.Request.URL.Path)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: %s: status %d", image.ErrDenied, w.endpoint.host, resp.StatusCode)
	}
	return fmt.Errorf("%w: %s: status %d", image.ErrUnreachable, w.endpoint.host, resp.StatusCode)
}

// page reads a small document; image.ErrNotFound where there is none.
func (c *Client) page(ctx context.Context, rawURL string) ([]byte, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	w, err := c.website(ctx, u)
	if err != nil {
		return nil, err
	}
	defer w.guard.http.CloseIdleConnections()
	resp, err := w.get(ctx, rawURL, false, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// GetPage serves discovery.
func (a *appcFetch) GetPage(ctx context.Context, url string) ([]byte, error) { return a.page(ctx, url) }

// download an ACI into a file without a name.
func (a *appcFetch) download(ctx context.Context, rawURL string) (f appcFile, err error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return appcFile{}, err
	}
	w, err := a.website(ctx, u)
	if err != nil {
		return appcFile{}, err
	}
	defer w.guard.http.CloseIdleConnections()
	header := http.Header{"Accept": {appcType + ", application/octet-stream;q=0.9, */*;q=0.1"}}
	if a.knows(rawURL) && a.stored.Caching.ETag != "" {
		header.Set("If-None-Match", a.stored.Caching.ETag)
	}
	resp, err := w.get(ctx, rawURL, true, header)
	if err != nil {
		return appcFile{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified {
		if !a.knows(rawURL) {
			return appcFile{}, fmt.Errorf("%w: %s: status 304 to a question without a condition", image.ErrUnreachable, w.endpoint.host)
		}
		return appcFile{}, errUnchanged
	}
	if a.caching = cachingOf(resp.Header, time.Now()); a.caching != (image.Caching{}) {
		a.caching.URL = rawURL
	}
	body := newWebBody(ctx, w, rawURL, header, resp)
	defer body.Close()
	own, err := a.Store.Scratch()
	if err != nil {
		return appcFile{}, err
	}
	n, err := a.save(own, body)
	if err != nil {
		return appcFile{}, errors.Join(err, own.Close())
	}
	return appcFile{own, n}, nil
}

// knows reports whether what is stored came from url: what was discovered before may lie elsewhere now.
func (a *appcFetch) knows(url string) bool { return a.stored != nil && a.stored.Caching.URL == url }

func (a *appcFetch) save(w io.Writer, from *webBody) (int64, error) {
	most := a.Limits.bytes(maxBlob)
	body := io.Reader(&cappedReader{r: from, left: most, err: fmt.Errorf("%w: more than %d bytes", image.ErrLimit, most)})
	if a.Progress != nil {
		body = &countingReader{r: body, report: func(n int64) {
			a.event(order.Event{Status: "downloading", Done: n, Total: max(from.size, 0)})
		}}
	}
	return io.Copy(w, body)
}

// fromWeb downloads and verifies an ACI. The signature is asked for where the policy wants one.
func (a *appcFetch) fromWeb(ctx context.Context, name string, at aci.Endpoint) (f appcFile, evidence image.Evidence, err error) {
	if a.knows(at.ACI) && time.Now().Before(a.stored.Caching.Expires) {
		return f, evidence, errUnchanged
	}
	var sig []byte
	signed := a.Trust != nil && a.Trust.For(name).Require == trust.Signed
	if signed {
		if sig, err = a.signature(ctx, at.Signature); err != nil && !errors.Is(err, image.ErrNotFound) {
			return f, evidence, err
		}
		if err != nil {
			_, err = a.vouch(name, nil, nil) // says that it is missing
			return f, evidence, err
		}
	}
	if f, err = a.download(ctx, at.ACI); err != nil {
		return f, evidence, err
	}
	of := &f
	if !signed {
		of = nil
	}
	if evidence, err = a.vouch(name, of, sig); err != nil {
		err = errors.Join(err, f.Close())
	}
	return f, evidence, err
}

// signature of an ACI: the file that the user gave, or what the web has.
func (a *appcFetch) signature(ctx context.Context, url string) ([]byte, error) {
	if a.opts.Signature == "" {
		return a.page(ctx, url)
	}
	sig, err := readSignature(a.opts.Signature)
	if err == nil && sig == nil {
		err = fmt.Errorf("%w: signature %s", image.ErrNotFound, a.opts.Signature)
	}
	return sig, err
}

// discover finds an ACI by name and labels, and gets it from the first place that serves one that is it.
func (a *appcFetch) discover(ctx context.Context, w aci.Wanted) (appcFile, image.Evidence, error) {
	name, err := trust.NameOf(image.Ref{Kind: image.ACI, Name: "aci:" + w.Name})
	if err == nil && a.Trust != nil {
		err = a.Trust.For(name).Refusal(name)
	}
	if err != nil {
		return appcFile{}, image.Evidence{}, err
	}
	schemes := []string{"https"}
	if a.InsecureHTTP {
		schemes = append(schemes, "http")
	}
	places, err := w.Discover(ctx, a, a.platform, schemes...)
	if err != nil {
		return appcFile{}, image.Evidence{}, err
	}
	var errs []error
	for _, place := range places {
		f, evidence, err := a.fromWeb(ctx, name, place)
		if errors.Is(err, errUnchanged) {
			return appcFile{}, image.Evidence{}, err
		}
		if err == nil {
			if err = a.isWanted(f, w); err == nil {
				return f, evidence, nil
			}
			f.Close()
		}
		errs = append(errs, err)
	}
	return appcFile{}, image.Evidence{}, errors.Join(errs...)
}

func (a *appcFetch) isWanted(f appcFile, w aci.Wanted) error {
	m, err := aci.ManifestOf(f, a.Limits.bytes(f.size))
	if err != nil {
		return err
	}
	return w.Check(m)
}

// withRemoteAppc serves aci:NAME and https://…/x.aci.
func (a *appcFetch) withRemoteAppc(ctx context.Context, ref image.Ref, use func(source) error) error {
	var f appcFile
	var evidence image.Evidence
	var err error
	if strings.HasPrefix(ref.Name, "aci:") {
		var w aci.Wanted
		if w, err = aci.ParseName(ref.Name); err != nil {
			return fmt.Errorf("%w: %w", image.ErrBadRef, err)
		}
		if name, err := trust.NameOf(ref); err == nil || a.Trust == nil {
			a.remember(ctx, ref, name)
		}
		f, evidence, err = a.discover(ctx, w)
	} else {
		var name string
		if name, err = trust.NameOf(ref); err == nil || a.Trust == nil {
			a.remember(ctx, ref, name)
			f, evidence, err = a.fromWeb(ctx, name, aci.Endpoint{ACI: ref.Name, Signature: ref.Name + ".asc"})
		}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return a.withAppc(ctx, f, evidence, use)
}

// errUnchanged: what the store has is what the URL leads to.
var errUnchanged = errors.New("unchanged")

// remember what the URL led to before, if it is stored whole and the policy of today lets it pass.
func (a *appcFetch) remember(ctx context.Context, ref image.Ref, name string) {
	img, err := a.Store.Get(ctx, ref)
	if err != nil || (a.Trust != nil && a.Trust.Recheck(name, img.Evidence) != nil) || a.opts.KeepBlobs {
		return
	}
	for _, id := range img.DiffIDs {
		if there, err := a.Store.HasLayer(id); err != nil || !there {
			return
		}
	}
	if suits(a.platform, img.Config.Platform) > 0 {
		a.stored = img
	}
}

// maxFresh is the longest that a server is believed.
const maxFresh = 7 * 24 * time.Hour

// cachingOf an answer (RFC 9111): only max-age counts, and that something forbids to keep it.
func cachingOf(h http.Header, now time.Time) image.Caching {
	c := image.Caching{ETag: h.Get("ETag")}
	if len(c.ETag) > 1024 {
		c.ETag = ""
	}
	for part := range strings.SplitSeq(strings.ToLower(h.Get("Cache-Control")), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "no-store":
			return image.Caching{}
		case "no-cache", "must-revalidate":
			c.Expires = time.Time{}
			return c
		case "max-age":
			if n, err := strconv.ParseUint(value, 10, 31); err == nil && n > 0 {
				c.Expires = now.Add(min(time.Duration(n)*time.Second, maxFresh)).UTC()
			}
		}
	}
	return c
}
