package launch

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer"

	"github.com/gantryrun/gantry/pods"
)

// passSockets gives process the sockets of its unit, from descriptor 3 on, and says so as sd_listen_fds(3) reads it. LISTEN_PID is
// gantry-init's to set, which becomes the app's program. What the image says of itself in these variables goes.
func passSockets(process *libcontainer.Process, sockets []pods.LaunchSocket) {
	process.Env = slices.DeleteFunc(slices.Clone(process.Env), isListen)
	if len(sockets) == 0 {
		return
	}
	var names []string
	for _, s := range sockets {
		process.ExtraFiles = append(process.ExtraFiles, os.NewFile(uintptr(s.FD), s.Name))
		names = append(names, s.Name)
	}
	process.Env = append(process.Env, "LISTEN_FDS="+strconv.Itoa(len(sockets)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
}

func isListen(kv string) bool {
	name, _, _ := strings.Cut(kv, "=")
	return name == "LISTEN_FDS" || name == "LISTEN_PID" || name == "LISTEN_FDNAMES"
}
