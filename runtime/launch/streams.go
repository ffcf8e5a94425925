package launch

import (
	"fmt"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// giveStreams makes the pipes and terminals among the streams of process belong to owner, a user of the host, so that it can open
// /dev/stdout anew. libcontainer would, but not in a user namespace, and not for a stderr that it does not see.
func giveStreams(process *libcontainer.Process, owner uint32) error {
	for _, stream := range []any{process.Stdin, process.Stdout, process.Stderr} {
		f, ok := stream.(*os.File)
		if !ok || f == nil {
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			return fmt.Errorf("look at %s: %w", f.Name(), err)
		}
		_, noTerminal := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		if st.Uid == owner || st.Mode&unix.S_IFMT != unix.S_IFIFO && noTerminal != nil {
			continue
		}
		if err := f.Chown(int(owner), -1); err != nil {
			return fmt.Errorf("give %s to the app's user: %w", f.Name(), err)
		}
	}
	return nil
}
