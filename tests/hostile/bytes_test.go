package hostile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/tests/craft"
)

// noise gives n bytes that compress badly.
func noise(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		b.WriteString(digest.FromString(fmt.Sprint(i)).Encoded())
	}
	return b.String()[:n]
}

// plain is an image without guile.
func plain(files ...string) *craft.Image {
	entries := []craft.Entry{craft.File("a", noise(100_000))}
	for i := 0; i < len(files); i += 2 {
		entries = append(entries, craft.File(files[i], files[i+1]))
	}
	return craft.NewImage(nil, craft.Gzipped(craft.Archive(entries...)))
}

// firstLayer is the digest of an image's first layer.
func firstLayer(img *craft.Image) string {
	var m ocispec.Manifest
	if err := json.Unmarshal(img.Manifest, &m); err != nil {
		panic(err)
	}
	return m.Layers[0].Digest.String()
}

func changed(data []byte, at int) []byte {
	c := bytes.Clone(data)
	c[at] ^= 1
	return c
}

// wrongBytes is F1: what is served is not what was named.
func wrongBytes() (all []attack) {
	img := plain()
	blob := img.Blobs[firstLayer(img)]
	for name, c := range map[string]struct {
		digest string
		body   []byte
	}{
		"layer: a byte flipped":     {firstLayer(img), changed(blob, len(blob)/2)},
		"layer: first byte flipped": {firstLayer(img), changed(blob, 0)},
		"layer: last byte flipped":  {firstLayer(img), changed(blob, len(blob)-1)},
		"layer: a byte more":        {firstLayer(img), append(bytes.Clone(blob), 0)},
		"layer: a byte less":        {firstLayer(img), blob[:len(blob)-1]},
		"layer: nothing":            {firstLayer(img), nil},
		"layer: a member more":      {firstLayer(img), append(bytes.Clone(blob), craft.Gzip(nil)...)},
		"layer: another's":          {firstLayer(img), craft.Gzip([]byte("x"))},
		"config: a byte flipped":    {digest.FromBytes(img.Config).String(), changed(img.Config, 20)},
		"config: a space more":      {digest.FromBytes(img.Config).String(), append(bytes.Clone(img.Config), ' ')},
		"config: nothing":           {digest.FromBytes(img.Config).String(), nil},
	} {
		all = append(all, attack{name: name, row: "F1", precedent: "umoci verified reader, hardening.bats", refuse: "verification failed",
			prepare: func(k *kit) []string {
				args := k.put(img)
				k.site.Blob("hostile", c.digest, c.body)
				return args
			}})
	}
	for _, size := range []string{"1", "0", "-1", "100000000", "9223372036854775807", "9223372036854775808", "1e3", "1.5"} {
		all = append(all,
			attack{name: "layer: size " + size, row: "F1", precedent: "umoci verified reader, hardening.bats", refuse: "size",
				prepare: func(k *kit) []string { return k.put(img.LayerField("size", json.Number(size))) }},
			attack{name: "config: size " + size, row: "F1", precedent: "umoci verified reader, hardening.bats", refuse: "expected",
				prepare: func(k *kit) []string { return k.put(img.ConfigField("size", json.Number(size))) }})
	}
	for i := range all {
		if strings.HasPrefix(all[i].name, "layer: size 1") && !strings.Contains(all[i].name, "e3") && !strings.Contains(all[i].name, ".5") || all[i].name == "layer: size 0" {
			all[i].refuse = "verification failed" // a size that could be
		}
		if all[i].name == "config: size 100000000" {
			all[i].refuse = "limit exceeded"
		}
		if strings.Contains(all[i].name, "size -1") || strings.Contains(all[i].name, "5807") {
			all[i].refuse = "impossible size"
		}
		if strings.Contains(all[i].name, "e3") || strings.Contains(all[i].name, ".5") || strings.Contains(all[i].name, "5808") {
			all[i].refuse = "invalid manifest"
		}
	}
	return append(all, attack{name: "manifest: not of the digest asked for", row: "F1", precedent: "CVE-2021-41190", refuse: "verification failed",
		prepare: func(k *kit) []string {
			other := digest.FromString("other").String()
			k.site.Document("hostile", other, ocispec.MediaTypeImageManifest, img.Manifest)
			return []string{"fetch", k.addr() + "/hostile@" + other}
		}})
}

// flood answers with JSON that does not end.
func flood(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
	w.WriteHeader(status)
	chunk := []byte(`{"schemaVersion":2,"a":"` + strings.Repeat("x", 64<<10))
	for range 16_000 { // a gigabyte
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// endless is F2.
func endless() (all []attack) {
	for name, c := range map[string]struct {
		path   string
		status int
		refuse string
	}{
		"manifest":         {"/manifests/1", 200, "sends more than"},
		"config":           {"/blobs/", 200, "verification failed"},
		"error":            {"/manifests/1", 404, "hostile"},
		"error of a blob":  {"/blobs/", 500, "hostile"},
		"error of a token": {"/token", 403, "fetch"},
		"token":            {"/token", 200, "limit"},
		"signature":        {".sig", 200, "sends more than"},
		"referrers":        {"/referrers/", 200, "sends more than"},
		"ping":             {"/v2/", 200, ""},
	} {
		all = append(all, attack{name: name, row: "F2", precedent: "CVE-2023-25153", refuse: c.refuse, prepare: func(k *kit) []string {
			args := k.put(plain())
			k.site.Hook(func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(name, "token") && r.URL.Path == "/v2/" {
					w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="x"`)
					w.WriteHeader(http.StatusUnauthorized)
					return true
				}
				if c.path == "/v2/" && r.URL.Path != c.path || !strings.Contains(r.URL.Path, c.path) {
					return false
				}
				flood(w, c.status)
				return true
			})
			if name == "signature" || name == "referrers" {
				args = append(args, k.trusting(k.addr(), craft.NewSigner().PublicPEM()))
			}
			return args
		}})
	}
	return all
}

// confused is F3: documents that two readers would take for two things.
func confused() (all []attack) {
	for _, d := range craft.Documents() {
		if d.OK {
			continue
		}
		all = append(all, attack{name: d.Name, row: "F3", precedent: "CVE-2021-41190", refuse: "invalid manifest", prepare: func(k *kit) []string {
			contentType := d.ContentType
			if contentType == "" {
				contentType = "application/json"
			}
			k.site.Document("hostile", "1", contentType, []byte(d.Text))
			return []string{"fetch", k.ref()}
		}})
	}
	deep := ocispec.MediaTypeImageIndex
	return append(all, attack{name: "indexes 50 deep", row: "F3", precedent: "ATTACKS F3: nested index", refuse: "nested deeper", prepare: func(k *kit) []string {
		img := plain()
		k.put(img)
		doc := craft.Index(ocispec.MediaTypeImageManifest, img.Manifest)
		for range 50 {
			k.site.Document("hostile", "1", deep, doc)
			doc = craft.Index(deep, doc)
		}
		k.site.Document("hostile", "1", deep, doc)
		return []string{"fetch", k.ref()}
	}}, attack{name: "an index of 20,000", row: "F3", precedent: "ATTACKS F3: 10^5 descriptors", refuse: "platform", prepare: func(k *kit) []string {
		var list []any
		for n := range 20_000 {
			list = append(list, craft.Object{"mediaType": ocispec.MediaTypeImageManifest, "size": n, "digest": digest.FromString(fmt.Sprint(n)), "platform": craft.Object{"os": "plan9", "architecture": "mips"}})
		}
		k.site.Document("hostile", "1", deep, craft.JSON(craft.Object{"schemaVersion": 2, "manifests": list}))
		return []string{"fetch", k.ref()}
	}})
}

// badDigests is F4: digests that would be paths.
func badDigests() (all []attack) {
	for _, bad := range []string{
		"sha256:../../../../run/sentinel/file", "sha256:" + strings.Repeat("A", 64), "sha256:" + strings.Repeat("a", 63), "sha256:" + strings.Repeat("a", 65),
		"sha1:" + strings.Repeat("a", 40), "sha256:..%2f..%2f", "sha256:\x00", "", "sha256", ":", "sha256:" + strings.Repeat("/", 64),
		"sha512:" + strings.Repeat("a", 128), "sha256:" + strings.Repeat("a", 64) + "/../x",
	} {
		name := fmt.Sprintf("%d %.30q", len(bad), bad)
		img := plain()
		all = append(all,
			attack{name: "config " + name, row: "F4", precedent: "CVE-2024-3727", refuse: "digest", prepare: func(k *kit) []string { return k.put(img.ConfigField("digest", bad)) }},
			attack{name: "layer " + name, row: "F4", precedent: "CVE-2024-3727", refuse: "digest", prepare: func(k *kit) []string { return k.put(img.LayerField("digest", bad)) }},
			attack{name: "diffID " + name, row: "F4", precedent: "CVE-2024-3727", refuse: "digest", prepare: func(k *kit) []string {
				return k.put(img.ChangeConfig(func(c craft.Object) { c["rootfs"].(craft.Object)["diff_ids"] = []string{bad} }))
			}})
	}
	return all
}
