package hostile

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/gantryrun/gantry/tests/craft"
)

// bell is what a terminal would obey.
const bell = "\x1b]0;owned\x07\x1b[2J\r\n\u009b31m\u202e"

// escapes is F13: text of strangers on the user's terminal. (Every case looks for raw control characters in what gantry
// prints; these make it print.)
func escapes() []attack {
	entry := func(name string, e craft.Entry, refuse string) attack {
		return attack{name: name, row: "F13", precedent: "CVE-2021-45085", refuse: refuse, prepare: func(k *kit) []string {
			return k.put(craft.NewImage(nil, craft.Gzipped(craft.Archive(e))))
		}}
	}
	answer := func(name, refuse string, code int, header http.Header, body string) attack {
		return attack{name: name, row: "F13", precedent: "CVE-2021-45085", refuse: refuse, prepare: func(k *kit) []string {
			args := k.put(plain())
			k.site.Hook(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/v2/" {
					return false
				}
				for key, v := range header {
					w.Header()[key] = v
				}
				w.WriteHeader(code)
				_, _ = w.Write([]byte(body))
				return true
			})
			return args
		}}
	}
	message, _ := json.Marshal(bell)
	errors := func(code string) string {
		return `{"errors":[{"code":` + code + `,"message":` + string(message) + `}]}`
	}
	shown := func(name string, img func() *craft.Image, args ...string) attack {
		return attack{name: name, row: "F13", precedent: "CVE-2021-45085", prepare: func(k *kit) []string { return k.put(img()) },
			after: func(k *kit, _ result) {
				for _, a := range args {
					words := strings.Fields(strings.ReplaceAll(a, "REF", k.ref()))
					r := k.host.run(k.T, words...)
					k.bounded(k.T, r)
					if strings.Contains(a, "json") && !json.Valid([]byte(r.stdout)) {
						k.Errorf("%s prints what is no JSON: %q", a, r.stdout)
					}
				}
			}}
	}
	labels := func() *craft.Image {
		return craft.NewImage(craft.Object{"Labels": craft.Object{bell: bell}, "Env": []string{bell + "=" + bell}, "Cmd": []string{bell}, "Entrypoint": []string{bell}, "User": bell, "WorkingDir": bell}, craft.Gzipped(craft.Archive(craft.File("a", "a"))))
	}
	return []attack{
		entry("dropped xattr's file", craft.File("a"+bell+"b", "x").Xattr("trusted.evil", "x"), ""),
		entry("dropped xattr's name", craft.File("a", "x").Xattr("trusted."+bell, "x"), ""),
		entry("hard link's target", craft.Hardlink("a", bell), "of hard link is missing"),
		entry("whiteout", craft.File(bell+"/.wh.", ""), "names no file"),
		answer("error's message", "denies access", 403, nil, errors(`"DENIED"`)),
		answer("error's code", "denies access", 401, nil, errors(string(message))),
		answer("error of the server", "registry unreachable", 418, nil, errors(`"X"`)),
		answer("error that is no JSON", "hostile", 404, nil, bell),
		answer("content type", "invalid manifest", 200, http.Header{"Content-Type": {"text/x" + "\u202e\u009b"}}, "{}"),
		answer("redirect", "redirect", 302, http.Header{"Location": {"evil:" + "%1b%07\u202e"}}, ""),
		answer("manifest", "invalid manifest", 200, http.Header{"Content-Type": {"application/json"}}, `{"schemaVersion":2,"mediaType":`+string(message)+`,"layers":[],"config":{}}`),
		answer("field of a manifest", "invalid manifest", 200, http.Header{"Content-Type": {"application/json"}}, `{`+string(message)+`:1,`+string(message)+`:2}`),
		shown("labels", labels, "image list --full", "image list --format=json", "image inspect REF", "image list --full --fields=name,id,verified"),
		shown("author", func() *craft.Image {
			return labels().ChangeConfig(func(c craft.Object) { c["author"], c["created"] = bell, "2020-01-01T00:00:00Z" })
		}, "image list --full", "image inspect REF"),
		shown("annotations", func() *craft.Image {
			return labels().WithManifest(func(m craft.Object) { m["annotations"] = craft.Object{bell: bell} })
		}, "image inspect REF", "image list --format=json"),
		{name: "platform", row: "F13", precedent: "CVE-2021-45085", refuse: "platform", prepare: func(k *kit) []string {
			return k.put(plain().ChangeConfig(func(c craft.Object) { c["os"], c["architecture"] = bell, bell }))
		}},
		{name: "names in a layout", row: "F13", precedent: "CVE-2021-45085", refuse: "no \"x\"", prepare: func(k *kit) []string {
			return []string{"fetch", "oci-archive:" + k.file("x.tar", plain().Layout(bell)) + ":x"}
		}},
		{name: "tags in an archive", row: "F13", precedent: "CVE-2021-45085", refuse: "no \"x\"", prepare: func(k *kit) []string {
			return []string{"fetch", "docker-archive:" + k.file("x.tar", dockerArchive(bell)) + ":x"}
		}},
		{name: "appc manifest", row: "F13", precedent: "CVE-2021-45085", refuse: "invalid", prepare: func(k *kit) []string {
			return []string{"fetch", k.file("x.aci", aci(aciManifest("example.com/x", `,`+string(message)+`:1`)))}
		}},
	}
}
