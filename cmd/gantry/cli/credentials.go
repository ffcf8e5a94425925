package cli

import (
	"os"

	"github.com/gantryrun/gantry/runtime"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// credentialsDir is where apps find the credentials of their unit (LoadCredential=, SetCredential=).
const credentialsDir = "/run/credentials/unit"

// passCredentials hands the unit's credentials to every app: the directory, read-only, and its name in
// $CREDENTIALS_DIRECTORY. systemd made it for the unit's User=, which is root: an app under another user cannot read it.
func passCredentials(req *runtime.Request) {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return
	}
	const volume = "unit-credentials"
	req.Volumes = append(req.Volumes, bundle.Volume{Name: volume, Kind: bundle.KindHost, Source: dir, ReadOnly: true})
	req.Mounts = append(req.Mounts, bundle.Mount{Volume: volume, Target: credentialsDir})
	req.Env.Set = append([]bundle.EnvVar{{Name: "CREDENTIALS_DIRECTORY", Value: credentialsDir}}, req.Env.Set...)
}
