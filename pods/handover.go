package pods

import (
	"errors"
	"os"
	"strconv"
	"strings"
)

// What stage1 finds open when it is executed. Everything else is closed.
const (
	DirFD      = 3 + iota // the pod directory
	LockFD                // the lock file; the life lock is held through it
	ReadyFD               // of a detached pod: a pipe, where stage1 says that the pod is ready, or why not
	LauncherFD            // with --launcher=PID: the socket of a gantry-launch that stage0 has started ahead, a child of this process
	HybridFD              // with --hybrid: HybridMount, which is hidden from this mount namespace already
	SocketsFD             // the first of the sockets of PassedSockets, for which stage0 makes room: systemd passes them from 3 on
)

// HybridMount is where systemd mounts the cgroup2 of a host whose controllers are those of version 1, and the only place where
// libcontainer looks for it.
const HybridMount = "/sys/fs/cgroup/unified"

// CredentialsDir is where apps find the credentials of their unit (LoadCredential=, SetCredential=).
const CredentialsDir = "/run/credentials/unit"

// MaxRights is how many descriptors go with one message (SCM_MAX_FD), and bounds what a unit may pass.
const MaxRights = 253

// PassedSockets are the names of the sockets that systemd passed to this process, in order (sd_listen_fds_with_names(3)). There are
// none where the variables are somebody else's. stage1 has the process ID of stage0, and so sees the same.
func PassedSockets() ([]string, error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 || n > MaxRights {
		return nil, errors.New("LISTEN_FDS is " + strconv.Quote(os.Getenv("LISTEN_FDS")) + ": want a number of sockets")
	}
	names := make([]string, n)
	given := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for i := range names {
		if names[i] = "unknown"; len(given) == n { // what sd_listen_fds_with_names(3) calls those without
			names[i] = given[i]
		}
	}
	return names, nil
}

// CheckSocketName reports whether systemd could call a socket so (FileDescriptorName= of systemd.socket(5)).
func CheckSocketName(s string) error {
	if s == "" || len(s) > 255 || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || c == ':' }) {
		return errors.New(strconv.Quote(s) + ": want the FileDescriptorName= of a socket unit, or the unit's name, such as web.socket")
	}
	return nil
}
