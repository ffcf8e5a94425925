package trust

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gantryrun/gantry/image/strictjson"
)

// Errors that callers branch on.
var (
	// ErrUntrusted: the policy does not let the image pass; the message says why.
	ErrUntrusted = errors.New("image is not trusted")
	// ErrConfig: a file of trust.d or trustedkeys that cannot be used; the message names it.
	ErrConfig = errors.New("bad trust configuration")
	// ErrKey: what was given is no public key that gantry accepts.
	ErrKey = errors.New("unusable key")
)

// Requirement is what a name's images need.
type Requirement string

// The requirements.
const (
	Digest Requirement = "digest" // nothing but what every image gets: its digests are checked. trust.d's "accept"
	Signed Requirement = "signed"
	Reject Requirement = "reject"
)

// Policy is what trust.d and trustedkeys of all configuration directories say. The zero value accepts everything by
// digest.
type Policy struct {
	rules map[string]Requirement       // by prefix; "": the default
	keys  map[string]map[string]string // prefix -> fingerprint -> file; an empty path is a key that was masked
}

// Decision is what a policy says about one name.
type Decision struct {
	Require Requirement
	// Rule is the prefix that decided, or "default".
	Rule string

	// Keys are the files of the keys that count. The file's name is the fingerprint.
	Keys []string

	scope string // the prefix whose keys count
	why   error  // of a Reject that no rule asked for
}

// For says what an image of this name needs. An empty name is that of a local file.
func (p *Policy) For(name string) Decision {
	if name != "" {
		same, err := canonical(name)
		if err != nil {
			return Decision{Require: Reject, Rule: "default", why: err}
		}
		name = same
	}
	d := Decision{}
	for _, prefix := range parents(name) {
		keys, guarded := p.keys[prefix]
		if rule, ok := p.rules[prefix]; d.Require == "" && (ok || guarded) {
			d.Require, d.Rule = rule, ruleName(prefix)
			if guarded && rule != Reject {
				d.Require = Signed
			}
		}
		if guarded {
			d.scope, d.Keys = prefix, files(keys)
			break
		}
	}
	if d.Require == "" {
		d.Require, d.Rule = Digest, "default"
	}
	return d
}

func ruleName(prefix string) string {
	if prefix == "" {
		return "default"
	}
	return prefix
}

// Refusal is the error of a decision that no signature could change; else nil.
func (d Decision) Refusal(name string) error {
	switch {
	case d.why != nil:
		return fmt.Errorf("%w: %w", ErrUntrusted, d.why)
	case d.Require == Reject:
		return fmt.Errorf("%w: %s is rejected by the rule for %s in trust.d", ErrUntrusted, called(name), d.Rule)
	case d.Require == Signed && len(d.Keys) == 0:
		return fmt.Errorf("%w: %s has to be signed (rule for %s), and no key is trusted for it", ErrUntrusted, called(name), d.Rule)
	}
	return nil
}

// Lacking is the error of an image that has to be signed, and is not, or not by whom it should.
func (d Decision) Lacking(name string, why error) error {
	return fmt.Errorf("%w: %s has to be signed (rule for %s): %w", ErrUntrusted, called(name), d.Rule, why)
}

func called(name string) string {
	if name == "" {
		return "a local image"
	}
	return name
}

// policyFile is a file of trust.d.
type policyFile struct {
	Kind    string `json:"kind"`
	Version string `json:"version"`
	Default string `json:"default"`
	Rules   []struct {
		Prefix  string      `json:"prefix"`
		Require Requirement `json:"require"`
	} `json:"rules"`
}

// Load reads the policy of the configuration directories, weakest first. A later directory overrides an earlier one
// prefix by prefix; two files of one directory must not say different things. What cannot be read is an error: a policy
// with a hole would let pass what somebody meant to stop.
func Load(dirs []string) (*Policy, error) {
	p := &Policy{rules: map[string]Requirement{}, keys: map[string]map[string]string{}}
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		if err := p.loadRules(filepath.Join(dir, "trust.d")); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		if err := p.loadKeys(filepath.Join(dir, "trustedkeys")); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	return p, nil
}

func (p *Policy) loadRules(dir string) error {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	level := map[string]Requirement{}
	for _, e := range list {
		if !strings.HasSuffix(e.Name(), ".json") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		data, err := ReadFile(path)
		if err == nil {
			err = addRules(level, data)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	for prefix, rule := range level {
		p.rules[prefix] = rule
	}
	return nil
}

func addRules(level map[string]Requirement, data []byte) error {
	var file policyFile
	if err := strictjson.Decode(data, &file); err != nil {
		return err
	}
	if file.Kind != "trust" || file.Version != "v1" {
		return errors.New(`want "kind": "trust", "version": "v1"`)
	}
	switch file.Default {
	case "":
	case "accept", "reject":
		require := map[string]Requirement{"accept": Digest, "reject": Reject}[file.Default]
		if err := addRule(level, "", require); err != nil {
			return err
		}
	default:
		return fmt.Errorf("default %q: want accept or reject", file.Default)
	}
	for _, rule := range file.Rules {
		prefix, err := CheckPrefix(rule.Prefix)
		if err != nil {
			return err
		}
		switch rule.Require {
		case Digest, Signed, Reject:
		default:
			return fmt.Errorf("rule for %s: require %q: want signed, digest or reject", prefix, rule.Require)
		}
		if err := addRule(level, prefix, rule.Require); err != nil {
			return err
		}
	}
	return nil
}

func addRule(level map[string]Requirement, prefix string, require Requirement) error {
	if before, ok := level[prefix]; ok && before != require {
		return fmt.Errorf("rule for %s: %s, after another says %s", ruleName(prefix), require, before)
	}
	level[prefix] = require
	return nil
}

// CheckPrefix returns a prefix of names in its canonical form: HOST[:PORT][/PATH], in lower case.
func CheckPrefix(s string) (string, error) {
	prefix, err := canonical(s)
	if err != nil {
		return "", fmt.Errorf("prefix %q: want HOST[:PORT][/PATH] in lower case: %w", s, err)
	}
	return prefix, nil
}

const maxFile = 1 << 20

// ReadFile reads a key, or a file of rules: a regular file of at most 1 MB.
func ReadFile(path string) ([]byte, error) {
	info, err := os.Stat(path) // before the open: a FIFO would hold us up
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("want a regular file of at most %d bytes", maxFile)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}
