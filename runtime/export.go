package runtime

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	goruntime "runtime"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime/changes"
)

// Export writes what an app changed of its root file system as an OCI archive of one layer. app may be empty where the pod has one app. A
// running pod may be exported while it changes nothing.
func Export(w io.Writer, pod *pods.Pod, app string) error {
	apps, err := pod.Apps()
	if err != nil {
		return err
	}
	var chosen *pods.App
	var names []string
	for _, a := range apps {
		names = append(names, a.Name)
		if a.Name == app || app == "" {
			chosen = a
		}
	}
	if chosen == nil || app == "" && len(apps) > 1 {
		return requestErrorf("say --app=NAME: pod %s has %s", pod.UUID, strings.Join(names, ", "))
	}
	changed := "upper"
	if chosen.Rootfs.Copied {
		changed = "rootfs" // all of it: nobody knows what the app changed
	}
	upper, err := pod.Root().OpenRoot(pods.AppPath(chosen.Name, changed))
	if errors.Is(err, fs.ErrNotExist) {
		return stateErrorf("app %s of pod %s was never run: it has changed nothing", chosen.Name, pod.UUID)
	}
	if err != nil {
		return err
	}
	defer upper.Close()
	// A file, because what comes before the layer in the archive holds its digest.
	layer, err := os.CreateTemp("", "gantry-export-")
	if err != nil {
		return err
	}
	defer layer.Close()
	if err := os.Remove(layer.Name()); err != nil {
		return err
	}
	var base uint32
	if run, err := pod.Run(); err == nil && run.Users != nil && !chosen.Rootfs.Copied {
		base = run.Users.Base
	}
	if err := changes.WriteLayer(layer, upper, base); err != nil {
		return fmt.Errorf("app %s: %w", chosen.Name, err)
	}
	return changes.Archive(w, layer, ocispec.Platform{OS: "linux", Architecture: goruntime.GOARCH}, map[string]string{
		ocispec.AnnotationBaseImageName: chosen.Image.Name, ocispec.AnnotationBaseImageDigest: chosen.Image.ID,
	})
}
