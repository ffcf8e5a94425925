package cli

import (
	"os"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/runtime"
	"github.com/gantryrun/gantry/runtime/bundle"
)

// nameCredentials tells every app, and who enters one, where the credentials of the unit are, if it has some. It is stage1 that passes them.
func nameCredentials(req *runtime.Request) {
	if os.Getenv("CREDENTIALS_DIRECTORY") != "" {
		req.Env.Set = append([]bundle.EnvVar{{Name: "CREDENTIALS_DIRECTORY", Value: pods.CredentialsDir}}, req.Env.Set...)
	}
}
