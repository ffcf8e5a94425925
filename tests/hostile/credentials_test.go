package hostile

import (
	"encoding/base64"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/gantryrun/gantry/tests/craft"
)

// login gives gantry credentials for this host's registry, and no other.
func (k *kit) login(key string) {
	k.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte("user:secret"))
	path := filepath.Join(k.dir, "..", "auth.json")
	if err := os.WriteFile(path, craft.JSON(craft.Object{"auths": craft.Object{key: craft.Object{"auth": auth}}}), 0o600); err != nil {
		k.Fatal(err)
	}
	k.Cleanup(func() { os.Remove(path) })
}

// other is a server that is none of ours.
func (k *kit) other() (*craft.Site, string) {
	k.Helper()
	site := &craft.Site{}
	server := httptest.NewServer(site)
	k.Cleanup(server.Close)
	return site, server.URL
}

// untold fails if a request to site carried what it must not.
func (k *kit) untold(site *craft.Site) {
	k.Helper()
	for _, r := range site.Seen("") {
		// A redirect that brings credentials of its own has them sent there: they are whose they are.
		if auth := r.Header.Get("Authorization"); auth != "" && auth != "Basic ZXZpbDpldmls" || r.Header.Get("Cookie") != "" {
			k.Errorf("credentials went to another server: %s %v", r.URL, r.Header)
		}
	}
}

// challenge asks for Basic credentials, and passes on requests that have them.
func challenge(then func(w http.ResponseWriter, r *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if user, secret, ok := r.BasicAuth(); !ok || user != "user" || secret != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return then(w, r)
	}
}

const metadata = "169.254.169.254"

// metadataService listens where clouds keep the machine's secrets, in the box's network.
func (k *kit) metadataService() *craft.Site {
	k.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		k.Fatal(err)
	}
	_ = netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(metadata), Mask: net.CIDRMask(32, 32)}}) // there already is fine
	l, err := new(net.ListenConfig).Listen(k.Context(), "tcp", metadata+":0")
	if err != nil {
		k.Fatal(err)
	}
	site := &craft.Site{}
	server := httptest.NewUnstartedServer(site)
	server.Listener.Close()
	server.Listener = l
	server.Start()
	k.Cleanup(server.Close)
	k.meta = server.URL
	return site
}

// credentials is F5: what is for one server is not for another.
func credentials() []attack {
	redirected := func(name, precedent, part, refuse string, to func(k *kit, path string) string) attack {
		var site *craft.Site
		return attack{name: name, row: "F5", precedent: precedent, refuse: refuse, prepare: func(k *kit) []string {
			img := plain()
			args := k.put(img)
			var url string
			site, url = k.other()
			site.Put("hostile", "1", img)
			k.otherURL = url
			k.login(k.addr())
			k.site.Hook(challenge(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, part) {
					return false
				}
				http.SetCookie(w, &http.Cookie{Name: "session", Value: "secret"})
				w.Header().Set("Location", to(k, r.URL.Path))
				w.WriteHeader(http.StatusTemporaryRedirect)
				return true
			}))
			return args
		}, after: func(k *kit, _ result) {
			k.untold(site)
			if refuse == "" && len(site.Seen("")) == 0 {
				k.Error("the test does not test: no redirect was followed")
			}
		}}
	}
	away := func(k *kit, path string) string { return k.otherURL + path }
	nowhere := func(to string) func(*kit, string) string { return func(*kit, string) string { return to } }
	return append([]attack{
		redirected("manifest goes to another port", "CVE-2020-15157", "/manifests/", "", away),
		redirected("blob goes to another port", "CVE-2020-15157", "/blobs/", "", away),
		redirected("blob goes to a user of another port", "CVE-2020-15157", "/blobs/", "", func(k *kit, path string) string {
			return strings.Replace(k.otherURL, "http://", "http://evil:evil@", 1) + path
		}),
		redirected("manifest goes to a file", "rkt#2465", "/manifests/", "redirect from http to file", nowhere("file:///run/sentinel/file")),
		redirected("blob goes to a file", "rkt#2465", "/blobs/", "redirect from http to file", nowhere("file:///run/sentinel/file")),
		redirected("blob goes to gopher", "rkt#2465", "/blobs/", "redirect from http to gopher", nowhere("gopher://127.0.0.1/x")),
		redirected("blob goes round and round", "ATTACKS F5: redirects", "/blobs/", "more than 10 redirects", func(k *kit, path string) string { return k.server.URL + path }),
		redirected("manifest goes round and round", "ATTACKS F5: redirects", "/manifests/", "more than 10 redirects", func(k *kit, path string) string { return k.server.URL + path }),
	}, append(realms(), foreign()...)...)
}

// realms are token servers that are not the registry's.
func realms() (all []attack) {
	for name, realm := range map[string]string{
		"another port": "OTHER/token", "a file": "file:///run/sentinel/file", "ftp": "ftp://127.0.0.1/x", "the metadata service": "META/latest",
		"no URL": "::", "nothing": "", "a user of another port": "http://user:x@OTHERHOST/token",
	} {
		var sites []*craft.Site
		all = append(all, attack{name: "realm is " + name, row: "F5", precedent: "CVE-2026-48978", refuse: "hostile", prepare: func(k *kit) []string {
			args := k.put(plain())
			other, url := k.other()
			other.Page("/token", "application/json", []byte(`{"token":"x"}`))
			sites = []*craft.Site{other, k.metadataService()}
			k.login(k.addr())
			at := strings.NewReplacer("OTHERHOST", strings.TrimPrefix(url, "http://"), "OTHER", url, "META", k.meta).Replace(realm)
			k.site.Hook(func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("WWW-Authenticate", `Bearer realm="`+at+`",service="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return true
			})
			return args
		}, after: func(k *kit, _ result) {
			k.untold(sites[0])
			if n := len(sites[1].Seen("")); n > 0 {
				k.Errorf("%d requests to the metadata service", n)
			}
		}})
	}
	return all
}

// foreign are other ways out: URLs that a manifest names, addresses, TLS.
func foreign() []attack {
	var other, meta *craft.Site
	quiet := func(site **craft.Site) func(*kit, result) {
		return func(k *kit, _ result) {
			if n := len((*site).Seen("")); n > 0 {
				k.Errorf("%d requests where none may go", n)
			}
		}
	}
	return []attack{
		{name: "layer has URLs", row: "F5", precedent: "CVE-2020-15157", prepare: func(k *kit) []string {
			var url string
			other, url = k.other()
			k.login(k.addr())
			return k.put(plain().LayerField("urls", []string{url + "/layer"}))
		}, after: quiet(&other)},
		{name: "config has URLs", row: "F5", precedent: "CVE-2020-15157", prepare: func(k *kit) []string {
			var url string
			other, url = k.other()
			return k.put(plain().ConfigField("urls", []string{url + "/config"}))
		}, after: quiet(&other)},
		{name: "blob goes to the metadata service", row: "F5", precedent: "oras CVE-2026-50151", refuse: "forbidden request", prepare: func(k *kit) []string {
			meta = k.metadataService()
			args := k.put(plain())
			k.site.Hook(func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/blobs/") {
					http.Redirect(w, r, k.meta+"/latest", http.StatusFound)
				}
				return strings.Contains(r.URL.Path, "/blobs/")
			})
			return args
		}, after: quiet(&meta)},
		{name: "credentials of an address that begins so", row: "F5", precedent: "ATTACKS F5: A.evil", refuse: "denies access", prepare: func(k *kit) []string {
			_, port, _ := net.SplitHostPort(k.addr())
			l, err := new(net.ListenConfig).Listen(k.Context(), "tcp", "127.0.0.10:"+port)
			if err != nil {
				k.Fatal(err)
			}
			other = &craft.Site{}
			server := httptest.NewUnstartedServer(other)
			server.Listener.Close()
			server.Listener = l
			server.Start()
			k.Cleanup(server.Close)
			k.login(k.addr())
			other.Hook(challenge(func(http.ResponseWriter, *http.Request) bool { return false }))
			return []string{"fetch", "127.0.0.10:" + port + "/hostile:1"}
		}, after: func(k *kit, _ result) { k.untold(other) }},
		{name: "https goes to http", row: "F5", precedent: "ATTACKS F5: https->http", refuse: "redirect from https to http", prepare: func(k *kit) []string {
			img := plain()
			k.put(img)
			secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "/blobs/") {
					http.Redirect(w, r, k.server.URL+r.URL.Path, http.StatusFound)
					return
				}
				k.site.ServeHTTP(w, r)
			}))
			k.Cleanup(secure.Close)
			return []string{"fetch", "--insecure-options=tls", strings.TrimPrefix(secure.URL, "https://") + "/hostile:1"}
		}},
		{name: "token in a URL is not shown", row: "F5", precedent: "GHSA-vh4v", refuse: "hostile", prepare: func(k *kit) []string {
			k.login(k.addr())
			k.site.Hook(challenge(func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusForbidden)
				_, _ = w.Write([]byte(`{"errors":[{"code":"DENIED","message":"no"}]}`))
				return true
			}))
			return []string{"fetch", "--debug", k.ref()}
		}, after: func(k *kit, r result) {
			if strings.Contains(r.stderr, "secret") || strings.Contains(r.stderr, base64.StdEncoding.EncodeToString([]byte("user:secret"))) {
				k.Errorf("the password is shown: %s", r.stderr)
			}
		}},
	}
}
