module github.com/gantryrun/gantry/tests/e2e/testdata/ace

go 1.25

tool github.com/appc/spec/ace

require (
	github.com/appc/spec v0.8.11 // indirect
	github.com/coreos/go-semver v0.3.1 // indirect
	github.com/spf13/pflag v1.1.0 // indirect
	go4.org v0.0.0-20260112195520-a5071408f32f // indirect
	gopkg.in/inf.v0 v0.9.1 // indirect
)
