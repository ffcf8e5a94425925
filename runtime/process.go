package runtime

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantryrun/gantry/runtime/bundle"
)

// maxString is what execve(2) takes of one argument or variable: MAX_ARG_STRLEN without the byte that ends it.
const maxString = 32*4096 - 1

// checkStrings refuses what the kernel would, when the pod is already up, without saying which it was.
func checkStrings(p *specs.Process) error {
	for _, kv := range p.Env {
		if !utf8.ValidString(kv) { // JSON would change it
			return fmt.Errorf("environment variable %.100q is no UTF-8 text", kv)
		}
		if len(kv) > maxString {
			name, _, _ := strings.Cut(kv[:min(len(kv), 100)], "=")
			return fmt.Errorf("environment variable %q: %d bytes with its name: the kernel passes %d at most", name, len(kv), maxString)
		}
	}
	for i, arg := range p.Args {
		if !utf8.ValidString(arg) {
			return fmt.Errorf("argument %d: %q is no UTF-8 text", i, arg)
		}
		if len(arg) > maxString {
			return fmt.Errorf("argument %d: %d bytes: the kernel passes %d at most", i, len(arg), maxString)
		}
	}
	return nil
}

// warnImage says what of the image's configuration makes no sense and is left out.
func (r *Runtime) warnImage(a *AppRequest, img *usedImage) {
	c := img.Config.Config
	if _, err := bundle.ParseSignal(c.StopSignal); err != nil && a.StopSignal == "" && c.StopSignal != "" {
		r.warn("app %s: stop signal of its image: %v: SIGTERM is sent", a.Name, err)
	}
	for _, kv := range c.Env {
		if _, err := bundle.ParseEnv(kv); err != nil {
			r.warn("app %s: environment of its image: %v: left out", a.Name, err)
		}
	}
}
