package fetch

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gantryrun/gantry/image"
)

// registriesFile is a file of registries.d.
type registriesFile struct {
	configHeader
	Registries []registryRule `json:"registries"`
}

// registryRule says how to reach what begins with Prefix: a host, and components of a path. A field that is absent
// leaves what an earlier directory said.
type registryRule struct {
	Prefix   string       `json:"prefix"`
	Mirrors  []mirrorRule `json:"mirrors,omitempty"`
	Insecure *bool        `json:"insecure,omitempty"`
	CA       *string      `json:"ca,omitempty"`
	Blocked  *bool        `json:"blocked,omitempty"`
}

// mirrorRule is a place that serves the same under Location, which stands for the prefix.
type mirrorRule struct {
	Location string `json:"location"`
	Insecure bool   `json:"insecure,omitempty"`
}

// readRegistries reads registries.d of all directories into one rule per prefix.
func readRegistries(dirs []string) (map[string]registryRule, error) {
	rules := map[string]registryRule{}
	err := eachConfig(dirs, "registries.d", func(path string, data []byte) error {
		var file registriesFile
		if err := decodeStrict(data, &file); err != nil {
			return err
		}
		if err := file.check("registries"); err != nil {
			return err
		}
		for _, rule := range file.Registries {
			if err := rule.check(filepath.Dir(path)); err != nil {
				return err
			}
			rules[rule.Prefix] = rules[rule.Prefix].overriddenBy(rule)
		}
		return nil
	})
	return rules, err
}

// check the rule's prefix and locations, and complete the path of its CA.
func (r *registryRule) check(dir string) error {
	for _, name := range append([]string{r.Prefix}, r.locations()...) {
		// A name is what a reference to an image below it starts with, spelled in the one canonical way.
		ref, err := image.ParseRef("docker://" + name + "/x:x")
		if err != nil || ref.Registry+"/"+ref.Repository != name+"/x" {
			return fmt.Errorf("%q: want HOST[:PORT][/PATH] in lower case", name)
		}
	}
	if r.CA != nil && *r.CA != "" && !filepath.IsAbs(*r.CA) {
		ca := filepath.Join(dir, *r.CA)
		r.CA = &ca
	}
	return nil
}

func (r *registryRule) locations() (list []string) {
	for _, m := range r.Mirrors {
		list = append(list, m.Location)
	}
	return list
}

func (r registryRule) overriddenBy(later registryRule) registryRule {
	r.Prefix = later.Prefix
	if later.Mirrors != nil {
		r.Mirrors = later.Mirrors
	}
	if later.Insecure != nil {
		r.Insecure = later.Insecure
	}
	if later.CA != nil {
		r.CA = later.CA
	}
	if later.Blocked != nil {
		r.Blocked = later.Blocked
	}
	return r
}

// endpoints that serve ref: the mirrors of the longest prefix that matches, then the registry itself.
func (c *Client) endpoints(ref image.Ref) ([]endpoint, error) {
	rules, err := readRegistries(c.ConfigDirs)
	if err != nil {
		return nil, err
	}
	name := ref.Registry + "/" + ref.Repository
	rule, rest := match(rules, name)
	if rule.Blocked != nil && *rule.Blocked {
		return nil, fmt.Errorf("%w: %s", image.ErrBlocked, rule.Prefix)
	}
	own := endpoint{host: ref.Registry, repository: ref.Repository, plainHTTP: c.InsecureHTTP, anyCert: c.InsecureTLS}
	if rule.CA != nil {
		own.ca = *rule.CA
	}
	if rule.Insecure != nil && *rule.Insecure {
		own.plainHTTP, own.anyCert = true, true
	}
	var list []endpoint
	for _, m := range rule.Mirrors {
		host, path, _ := strings.Cut(m.Location+rest, "/")
		list = append(list, endpoint{
			host: host, repository: path, ca: own.ca, mirror: true,
			plainHTTP: m.Insecure || c.InsecureHTTP, anyCert: m.Insecure || c.InsecureTLS,
		})
	}
	return append(list, own), nil
}

// match finds the rule with the longest prefix, by whole components, and what of name comes after it.
func match(rules map[string]registryRule, name string) (rule registryRule, rest string) {
	for _, prefix := range slices.Sorted(maps.Keys(rules)) { // the longer of two that match comes later
		after, ok := strings.CutPrefix(name, prefix)
		if ok && (after == "" || after[0] == '/') {
			rule, rest = rules[prefix], after
		}
	}
	return rule, rest
}
