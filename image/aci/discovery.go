package aci

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/net/html"

	"github.com/gantryrun/gantry/image/appc"
)

// Wanted is an image by name and labels: aci:NAME[:version][,label=value...].
type Wanted struct {
	Name   string
	Labels []appc.Pair
}

// ParseName parses the reference, with or without aci: before it.
func ParseName(s string) (Wanted, error) {
	s = strings.TrimPrefix(s, "aci:")
	head, tail, _ := strings.Cut(s, ",")
	name, version, versioned := strings.Cut(head, ":")
	w := Wanted{Name: name}
	if !appc.IsIdentifier(name) {
		return Wanted{}, fmt.Errorf("%w: name %q: want HOST[/PATH][:VERSION][,LABEL=VALUE...] in lower case", appc.ErrInvalid, name)
	}
	if versioned {
		w.Labels = append(w.Labels, appc.Pair{Name: "version", Value: version})
	}
	for tail != "" {
		var pair string
		pair, tail, _ = strings.Cut(tail, ",")
		label, value, ok := strings.Cut(pair, "=")
		if !ok {
			return Wanted{}, fmt.Errorf("%w: label %q: want NAME=VALUE", appc.ErrInvalid, pair)
		}
		w.Labels = append(w.Labels, appc.Pair{Name: label, Value: value})
	}
	if err := appc.CheckPairs("label", w.Labels); err != nil {
		return Wanted{}, fmt.Errorf("%w: %w", appc.ErrInvalid, err)
	}
	return w, nil
}

// Check says whether an image that was found is the one wanted: of that name, with these labels.
func (w Wanted) Check(m *appc.Manifest) error {
	if m.Name != w.Name {
		return fmt.Errorf("%w: calls itself %q, not %s", appc.ErrInvalid, m.Name, w.Name)
	}
	for _, l := range w.Labels {
		if got := m.Label(l.Name); got != l.Value {
			return fmt.Errorf("%w: has label %s=%q, wanted %q", appc.ErrInvalid, l.Name, got, l.Value)
		}
	}
	return nil
}

// Endpoint is where an image and its signature should be.
type Endpoint struct{ ACI, Signature string }

// Getter gets small documents by URL.
type Getter interface {
	GetPage(ctx context.Context, url string) ([]byte, error)
}

// Bounds of discovery.
const (
	maxParents = 16
	maxMetas   = 256
)

// Discover asks the host that the name begins with, at the name's own path and then at those above it, where images of
// that name are (spec, discovery.md, "Meta Discovery"). Without schemes, https is spoken; "http" besides is for those
// who said so.
func (w Wanted) Discover(ctx context.Context, g Getter, platform ocispec.Platform, schemes ...string) ([]Endpoint, error) {
	if len(schemes) == 0 {
		schemes = []string{"https"}
	}
	var errs []error
	asked := 0
	for at := w.Name; at != "" && asked < maxParents; at, asked = parent(at), asked+1 {
		for _, scheme := range schemes {
			page, err := g.GetPage(ctx, scheme+"://"+at+"?ac-discovery=1")
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if list := w.render(templates(page, w.Name), platform, schemes); len(list) > 0 {
				return list, nil
			}
		}
	}
	err := fmt.Errorf("%w: discovery of %s: no page says where it is", appc.ErrNotFound, w.Name)
	if len(errs) > 0 {
		err = fmt.Errorf("%w (%w)", err, errs[len(errs)-1])
	}
	return nil, err
}

func parent(name string) string { return name[:max(0, strings.LastIndexByte(name, '/'))] }

// templates are the URLs of <meta name="ac-discovery" content="PREFIX TEMPLATE"> whose prefix the name has, by whole
// components. Only the head of a page counts.
func templates(page []byte, name string) (list []string) {
	z := html.NewTokenizer(bytes.NewReader(page))
	z.SetMaxBuf(64 << 10)
	for metas := 0; metas < maxMetas; {
		switch z.Next() {
		case html.ErrorToken:
			return list
		case html.StartTagToken, html.SelfClosingTagToken:
			tag, attributes := z.TagName()
			if string(tag) == "body" {
				return list
			}
			if string(tag) != "meta" || !attributes {
				continue
			}
			metas++
			if prefix, template, ok := discoveryMeta(z); ok && below(name, prefix) {
				list = append(list, template)
			}
		}
	}
	return list
}

func discoveryMeta(z *html.Tokenizer) (prefix, template string, ok bool) {
	attributes := map[string]string{}
	for more := true; more; {
		var key, value []byte
		key, value, more = z.TagAttr()
		if _, twice := attributes[string(key)]; !twice { // as browsers do
			attributes[string(key)] = string(value)
		}
	}
	fields := strings.Fields(attributes["content"])
	if attributes["name"] != "ac-discovery" || len(fields) != 2 {
		return "", "", false
	}
	return fields[0], fields[1], true
}

func below(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// render fills in templates. One with a variable that the name has no label for is passed over (spec).
func (w Wanted) render(list []string, platform ocispec.Platform, schemes []string) (out []Endpoint) {
	values := map[string]string{"name": w.Name, "version": "latest", "os": platform.OS, "arch": appc.ArchOf(platform)}
	for _, l := range w.Labels {
		values[l.Name] = l.Value
	}
	for _, template := range list {
		image, ok := fillIn(template, values, "aci", schemes)
		signature, ok2 := fillIn(template, values, "aci.asc", schemes)
		if ok && ok2 {
			out = append(out, Endpoint{ACI: image, Signature: signature})
		}
	}
	return out
}

func fillIn(template string, values map[string]string, ext string, schemes []string) (string, bool) {
	var b strings.Builder
	for template != "" {
		text, rest, found := strings.Cut(template, "{")
		b.WriteString(text)
		if !found {
			break
		}
		variable, after, closed := strings.Cut(rest, "}")
		value, known := values[variable]
		if variable == "ext" {
			value, known = ext, true
		}
		if !closed || !known {
			return "", false
		}
		for i, part := range strings.Split(value, "/") { // a version must not become a path, nor a query
			if i > 0 && variable == "name" {
				b.WriteByte('/')
			} else if i > 0 {
				b.WriteString("%2F")
			}
			b.WriteString(url.PathEscape(part))
		}
		template = after
	}
	u, err := url.Parse(b.String())
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return "", false
	}
	for _, s := range schemes {
		if u.Scheme == s {
			return u.String(), true
		}
	}
	return "", false
}

// ManifestOf reads the manifest of an ACI.
func ManifestOf(f io.ReadSeeker, limit int64) (*appc.Manifest, error) {
	return rewound(f, func() (*appc.Manifest, error) { return findManifest(f, limit) })
}
