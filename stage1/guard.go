package stage1

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gantryrun/gantry/pods"
)

// guard waits for the end of a client that has entered an app. One that was killed could not say so before: then the session of its command ends
// here. (The kernel has ended the command itself, but not what that has started; who made a session of its own stays.)
func (s *supervisor) guard(c *net.UnixConn, in *json.Decoder, r pods.ControlRequest) error {
	if err := pods.CheckAppName(r.App); err != nil {
		return err
	}
	if r.Session <= 1 {
		return errors.New("guard: no session")
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	var done pods.ControlRequest
	if in.Decode(&done) == nil {
		return nil
	}
	return killSession(s.appCgroups(r.App), r.Session)
}

// killSession kills the processes of a session below dirs, until there is none that could make another.
func killSession(dirs []string, session int) error {
	meant := func(pid string) bool { return inSession(pid, session) }
	for deadline := time.Now().Add(killPatience); time.Now().Before(deadline); {
		alive := false
		for _, dir := range dirs {
			pids, err := killTree(dir, meant)
			if err != nil {
				return err
			}
			alive = alive || len(pids) > 0
		}
		if !alive {
			return nil
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // the kernel tells nobody when a session is empty
	}
	return errors.New("processes of the session do not die")
}

// inSession reports whether a process is of the session, and not at its end.
func inSession(pid string, session int) bool {
	data, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return false
	}
	stat := string(data)
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // state, parent, group, session
	return len(f) > 3 && f[0] != "Z" && f[0] != "X" && f[3] == strconv.Itoa(session)
}
