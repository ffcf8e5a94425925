//go:build tools

package build

// go.mod pins the CNI plugins that the Makefile builds into bin/cni; go mod tidy would forget what nothing imports.
import _ "github.com/containernetworking/plugins/plugins/main/ptp"
