package tests

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gantryrun/gantry"

// law says what packages may not depend on, directly or through others. Patterns are the go command's: ours
// begin with "./", and "/..." covers what is below. In except are packages that may, and packages that all may.
type law struct {
	packages  []string
	forbidden []string
	except    []string
	direct    bool // forbid only what the package itself imports
	reason    string
}

var laws = []law{
	{
		packages: []string{"./pods/..."}, forbidden: []string{"./..."}, except: []string{"./pods/..."},
		reason: "the pod directory is the contract that everybody reads: a leaf",
	},
	{
		packages: []string{"./image/..."}, forbidden: []string{"./pods/..."}, except: []string{"./pods/atomicfile"},
		reason: "the store is handed a set to keep; it must not know what a pod is",
	},
	{
		packages: []string{"./..."}, forbidden: []string{"net/http"}, except: []string{"./image/fetch", "./tests/..."}, direct: true,
		reason: "only image/fetch speaks HTTP",
	},
	{
		packages: []string{"./image", "./image/layer", "./image/erofs", "./pods/...", "./runtime/bundle"}, forbidden: []string{"net/http"},
		reason: "what is stored is read without a network",
	},
	{
		packages:  []string{"./runtime", "./runtime/bundle", "./cmd/gantry/..."},
		forbidden: []string{"./stage1/...", "./network", "./runtime/launch", "github.com/opencontainers/runc/..."},
		reason:    "stage0 writes files; stage1 makes kernel objects; the pod directory is all that they share",
	},
	{
		packages: []string{"./cmd/gantry/...", "./runtime"},
		forbidden: []string{
			"./image/fetch", "./image/signature", "./image/aci", "net/http", "crypto/tls", "crypto/x509", "golang.org/x/net/...",
			"github.com/ProtonMail/go-crypto/...", "github.com/klauspost/...", "github.com/ulikunitz/xz/...", "github.com/google/go-containerregistry/...",
		},
		reason: "what a linked package does before main, every command pays for: what few need is gantry-fetch's",
	},
	{
		packages: []string{"./runtime/bundle"}, forbidden: []string{"os/exec", "net", "./image/fetch"}, direct: true,
		reason: "(app, image configuration) to OCI configuration is a pure function",
	},
	{
		packages: []string{"./stage1/...", "./cmd/gantry-stage1"},
		forbidden: []string{
			"./image/...", "github.com/opencontainers/runc/...", "net/http", "crypto/tls", "github.com/spf13/cobra", "go.opentelemetry.io/...",
		},
		reason: "the supervisor stays resident beside every pod: each linked package costs memory, and attack surface",
	},
	{
		packages: []string{"./stage1/...", "./cmd/gantry-stage1", "./network/...", "./pods/..."}, forbidden: []string{"regexp"}, direct: true,
		reason: "one compiled expression takes 600 kB of every supervisor",
	},
	{
		packages:  []string{"./network/..."},
		forbidden: []string{"./pods/...", "./image/...", "./runtime/...", "net/http", "go.opentelemetry.io/..."},
		except:    []string{"./pods/atomicfile"},
		reason:    "the network takes its own types, and lives in the supervisor (libcni 1.3.1 drags in OpenTelemetry and net/http)",
	},
	{
		packages: []string{"./network/conf"}, forbidden: []string{"github.com/vishvananda/netlink", "github.com/google/nftables"},
		reason: "finding and freezing configuration does no kernel work: stage0 uses it",
	},
	{
		packages: []string{"./..."}, forbidden: []string{"github.com/opencontainers/runc/..."},
		except: []string{"./runtime/launch", "./cmd/gantry-launch"},
		reason: "libcontainer has one wrapper; it is cgo, re-executes itself and has an init()",
	},
	{
		packages: []string{"./..."}, forbidden: []string{"./tests/..."}, except: []string{"./tests/..."},
		reason: "nothing of the tests is shipped",
	},
}

// TestLaws checks the laws over what `go list` says.
func TestLaws(t *testing.T) {
	packages := list(t)
	for _, l := range laws {
		t.Run(strings.Join(l.packages, ",")+" not "+l.forbidden[0], func(t *testing.T) {
			for _, p := range packages {
				if !matchAny(l.packages, p.path) || matchAny(l.except, p.path) {
					continue
				}
				deps := p.deps
				if l.direct {
					deps = p.imports
				}
				for _, d := range deps {
					if matchAny(l.forbidden, d) && !matchAny(l.except, d) {
						t.Errorf("%s depends on %s: %s", p.path, d, l.reason)
					}
				}
			}
		})
	}
}

// goPackage is what `go list` says of one of our packages; paths of ours begin with "./".
type goPackage struct {
	path, dir, name, doc string
	files, imports, deps []string
}

func list(t *testing.T) []goPackage {
	t.Helper()
	const format = `{{.ImportPath}}|{{.Dir}}|{{.Name}}|{{.Doc}}|{{join .GoFiles " "}} {{join .CgoFiles " "}}|{{join .Imports " "}}|{{join .Deps " "}}`
	cmd := exec.Command("go", "list", "-tags", "seccomp", "-f", format, module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "|")
		if n := len(f); n > 7 { // a synopsis may hold the separator
			f = slices.Concat(f[:3], []string{strings.Join(f[3:n-3], "|")}, f[n-3:])
		}
		packages = append(packages, goPackage{
			path: relative(f[0]), dir: f[1], name: f[2], doc: f[3],
			files: strings.Fields(f[4]), imports: relatives(f[5]), deps: relatives(f[6]),
		})
	}
	return packages
}

// relative spells a package of ours with "./".
func relative(pkg string) string {
	if rest, ok := strings.CutPrefix(pkg, module+"/"); ok {
		return "./" + rest
	}
	return pkg
}

func relatives(words string) []string {
	fields := strings.Fields(words)
	for i := range fields {
		fields[i] = relative(fields[i])
	}
	return fields
}

func matchAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if tree, ok := strings.CutSuffix(p, "/..."); ok {
			return pkg == tree || strings.HasPrefix(pkg, tree+"/")
		}
		return pkg == p
	})
}
