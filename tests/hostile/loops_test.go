package hostile

import (
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/tests/craft"
)

func aciManifest(name, more string) string {
	return fmt.Sprintf(`{"acKind":"ImageManifest","acVersion":"0.8.11","name":%q%s}`, name, more)
}

// aci is an appc archive of a manifest.
func aci(manifest string, entries ...craft.Entry) []byte {
	return craft.Archive(append([]craft.Entry{craft.File("manifest", manifest), craft.Dir("rootfs")}, entries...)...)
}

var appcHosts atomic.Int64 // names of appc have no ports, so each host has an address of loopback

// appcHost is a web site of appc images, by https, and its name. (In the box port 443 is ours.)
func (k *kit) appcHost() (*craft.Site, string) {
	k.Helper()
	name := fmt.Sprintf("127.83.0.%d", appcHosts.Add(1))
	l, err := new(net.ListenConfig).Listen(k.Context(), "tcp", name+":443")
	if err != nil {
		k.Fatal(err)
	}
	site := &craft.Site{}
	server := httptest.NewUnstartedServer(site)
	server.Listener.Close()
	server.Listener = l
	server.StartTLS()
	k.Cleanup(server.Close)
	for _, at := range []string{"/", ""} {
		site.Page(at, "text/html", []byte(`<meta name="ac-discovery" content="`+name+` https://`+name+`/get/{name}-{version}-{os}-{arch}.{ext}">`))
	}
	return site, name
}

// serveACI puts an archive where discovery finds it.
func serveACI(site *craft.Site, host, name string, data []byte) {
	site.Page("/get/"+host+"/"+name+"-latest-linux-amd64.aci", "application/octet-stream", data)
}

func dependsOn(names ...string) string {
	var list []string
	for _, n := range names {
		list = append(list, `{"imageName":"`+n+`"}`)
	}
	return `,"dependencies":[` + strings.Join(list, ",") + `]`
}

// loops is F8: graphs without an end.
func loops() []attack {
	appc := func(name, precedent, refuse string, most int, fill func(site *craft.Site, host string)) attack {
		var site *craft.Site
		return attack{name: name, row: "F8", precedent: precedent, refuse: refuse, prepare: func(k *kit) []string {
			var host string
			site, host = k.appcHost()
			fill(site, host)
			return []string{"fetch", "--insecure-options=tls", "--platform=linux/amd64", "aci:" + host + "/a"}
		}, after: func(k *kit, _ result) {
			if n := len(site.Seen("")); n > most {
				k.Errorf("%d requests, at most %d are in order", n, most)
			}
		}}
	}
	return []attack{
		appc("an appc image that depends on itself", "CVE-2016-8579", "depends on itself", 10, func(site *craft.Site, host string) {
			serveACI(site, host, "a", aci(aciManifest(host+"/a", dependsOn(host+"/a"))))
		}),
		appc("two appc images that depend on each other", "CVE-2016-8579", "depends on itself", 20, func(site *craft.Site, host string) {
			serveACI(site, host, "a", aci(aciManifest(host+"/a", dependsOn(host+"/b"))))
			serveACI(site, host, "b", aci(aciManifest(host+"/b", dependsOn(host+"/a"))))
		}),
		appc("a chain of forty, each twice", "CVE-2016-8579", "limit exceeded", 200, func(site *craft.Site, host string) {
			name := func(i int) string { return map[bool]string{true: "a", false: fmt.Sprintf("n%d", i)}[i == 0] }
			for i := range 40 {
				serveACI(site, host, name(i), aci(aciManifest(host+"/"+name(i), dependsOn(host+"/"+name(i+1), host+"/"+name(i+1)))))
			}
		}),
		{name: "an index that names its own tag's document", row: "F8", precedent: "CVE-2016-8579", refuse: "verification failed", prepare: func(k *kit) []string {
			// No document can hold its own digest; a registry can answer with it nevertheless.
			other := digest.FromString("x").String()
			index := craft.Index(ocispec.MediaTypeImageIndex, []byte("x"))
			k.site.Document("hostile", "1", ocispec.MediaTypeImageIndex, index)
			k.site.Document("hostile", other, ocispec.MediaTypeImageIndex, index)
			return []string{"fetch", k.ref()}
		}},
		{name: "a subject that is the image itself", row: "F8", precedent: "ATTACKS F8: subject chains", prepare: func(k *kit) []string {
			img := plain()
			return k.put(img.WithManifest(func(m craft.Object) { m["subject"] = craft.Describe(ocispec.MediaTypeImageManifest, img.Manifest) }))
		}},
		{name: "a thousand referrers", row: "F8", precedent: "GHSA-9vcr", refuse: "signature", prepare: func(k *kit) []string {
			img := plain()
			args := k.put(img)
			var list []any
			for n := range 1000 {
				desc := craft.Describe(ocispec.MediaTypeImageManifest, fmt.Appendf(nil, "%d", n))
				desc["artifactType"] = "application/vnd.dev.sigstore.bundle.v0.3+json"
				list = append(list, desc)
			}
			k.site.Page("/v2/hostile/referrers/"+img.Digest(), ocispec.MediaTypeImageIndex, craft.JSON(craft.Object{"schemaVersion": 2, "manifests": list}))
			return append(args, k.trusting(k.addr(), craft.NewSigner().PublicPEM()))
		}, after: func(k *kit, _ result) {
			if n := len(k.site.Seen("")); n > 150 {
				k.Errorf("%d requests", n)
			}
		}},
		{name: "links in a circle within an archive", row: "F8", precedent: "CVE-2016-8579", refuse: "links without end", prepare: func(k *kit) []string {
			return []string{"fetch", "docker-archive:" + k.file("x.tar", craft.Archive(
				craft.File("manifest.json", `[{"Config":"a","RepoTags":null,"Layers":[]}]`), craft.Symlink("a", "b"), craft.Symlink("b", "a")))}
		}},
	}
}

// renaming is F9: archives give themselves no name. (That the standing image is as before, every case checks.)
func renaming() (all []attack) {
	for name, verb := range map[string]string{"fetched": "fetch", "imported": "image import"} {
		all = append(all,
			attack{name: "OCI archive, " + name, row: "F9", precedent: "CVE-2026-50195", prepare: func(k *kit) []string {
				return append(strings.Fields(verb), "oci-archive:"+k.file("x.tar", plain().Layout(k.addr()+"/standing:1")))
			}, after: sameStanding},
			attack{name: "docker archive, " + name, row: "F9", precedent: "CVE-2026-50195", prepare: func(k *kit) []string {
				return append(strings.Fields(verb), "docker-archive:"+k.file("x.tar", dockerArchive(k.addr()+"/standing:1")))
			}, after: sameStanding})
	}
	return append(all,
		attack{name: "appc archive", row: "F9", precedent: "CVE-2026-50195", prepare: func(k *kit) []string {
			return []string{"fetch", "--platform=linux/amd64", k.file("x.aci", aci(aciManifest("127.0.0.1/standing", `,"labels":[{"name":"version","value":"1"}]`)))}
		}, after: sameStanding},
		attack{name: "annotations of a manifest", row: "F9", precedent: "CVE-2026-50195", prepare: func(k *kit) []string {
			return k.put(plain().WithManifest(func(m craft.Object) {
				m["annotations"] = craft.Object{ocispec.AnnotationRefName: k.addr() + "/standing:1", "io.containerd.image.name": k.addr() + "/standing:1"}
			}))
		}, after: sameStanding},
		attack{name: "appc image that was found calls itself another", row: "F9", precedent: "CVE-2026-50195", refuse: "standing", prepare: func(k *kit) []string {
			site, host := k.appcHost()
			serveACI(site, host, "a", aci(aciManifest(host+"/standing", "")))
			return []string{"fetch", "--insecure-options=tls", "--platform=linux/amd64", "aci:" + host + "/a"}
		}},
	)
}

func dockerArchive(tag string) []byte {
	tar := craft.Archive(craft.File("a", "evil"))
	config := craft.JSON(craft.Object{"architecture": "amd64", "os": "linux", "rootfs": craft.Object{"type": "layers", "diff_ids": []string{digest.FromBytes(tar).String()}}})
	return craft.Archive(craft.File("c.json", string(config)), craft.File("l.tar", string(tar)),
		craft.File("manifest.json", string(craft.JSON([]any{craft.Object{"Config": "c.json", "RepoTags": []string{tag}, "Layers": []string{"l.tar"}}}))))
}

// sameStanding: the name of the image that was there leads where it did.
func sameStanding(k *kit, _ result) {
	if out := k.must(k.T, "image", "cat-manifest", k.addr()+"/standing:1"); digest.FromString(strings.TrimSuffix(out, "\n")).String() != standing().Digest() {
		k.Errorf("the standing image's name leads elsewhere: %s", out)
	}
}

// standing is the image that every store has.
func standing() *craft.Image {
	return craft.NewImage(nil, craft.Gzipped(craft.Archive(craft.File("standing", "x"))))
}
