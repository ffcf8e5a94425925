package runtime

import (
	"fmt"

	"github.com/gantryrun/gantry/image/appc"
	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// addHooks writes the configurations of the app's hooks, those of its image among them, and names them in its manifest.
func (r *Runtime) addHooks(draft *pods.Draft, manifest *pods.App, a *AppRequest, in bundle.Input, built *bundle.Result) (err error) {
	hooks, err := a.hooks(in)
	if err != nil {
		return err
	}
	if manifest.PreStart, err = r.addHook(draft, a.Name, pods.PreStartFile, hooks.PreStart, in, built); err != nil {
		return fmt.Errorf("pre-start hook: %w", err)
	}
	if manifest.PostStop, err = r.addHook(draft, a.Name, pods.PostStopFile, hooks.PostStop, in, built); err != nil {
		return fmt.Errorf("post-stop hook: %w", err)
	}
	return nil
}

func (r *Runtime) addHook(draft *pods.Draft, app, file string, exec []string, in bundle.Input, built *bundle.Result) (*pods.Hook, error) {
	if len(exec) == 0 {
		return nil, nil
	}
	hook, err := bundle.Hook(in, built, exec)
	if err != nil {
		return nil, err
	}
	if err := checkStrings(hook.Spec.Process); err != nil {
		return nil, err
	}
	manifest := &pods.Hook{Exec: exec}
	if manifest.Seccomp, err = r.addSeccomp(hook); err != nil {
		return nil, err
	}
	config, err := hook.Encode()
	if err != nil {
		return nil, err
	}
	return manifest, draft.WriteFile(pods.AppPath(app, file), config)
}

// hooks are the app's own and, in the place of those that it has not, its image's. An image may loosen nothing that its user said:
// with a user who is not root said, its hooks are a question, because they run as root.
func (a *AppRequest) hooks(in bundle.Input) (Hooks, error) {
	h := a.Hooks
	if a.appc == nil || len(a.appc.EventHandlers) == 0 || h.Image == HooksSkip {
		return h, nil
	}
	handlers := a.appc.EventHandlers
	if h.Image == "" && a.Override == nil && a.User != "" && in.Identity.UID != 0 {
		return h, fmt.Errorf("its image has a %s hook, which runs as root, and you want user %q: say --hooks=run or --hooks=skip", handlers[0].Name, a.User)
	}
	for _, handler := range handlers {
		switch {
		case handler.Name == appc.PreStart && h.PreStart == nil:
			h.PreStart = handler.Exec
		case handler.Name == appc.PostStop && h.PostStop == nil:
			h.PostStop = handler.Exec
		}
	}
	return h, nil
}
