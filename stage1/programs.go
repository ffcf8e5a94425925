package stage1

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// programs are those that the supervisor starts again and again. A package replaces them under running pods, and what a supervisor, its
// launcher and an app's last step say to each other changes with them: so each is the one that was there in the beginning.
type programs struct {
	launchProgram, initProgram program
}

// program is a file that stays what it was when it was opened.
type program struct {
	path string
	fd   int
	dev  uint64
	ino  uint64
}

func (s *supervisor) keepPrograms() (err error) {
	if s.launchProgram, err = openProgram(s.opts.Programs.Launch); err == nil {
		s.initProgram, err = openProgram(s.opts.Programs.Init)
	}
	return err
}

func openProgram(path string) (program, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err != nil {
		return program{}, fmt.Errorf("open %s: %w", path, err)
	}
	return program{path, fd, st.Dev, st.Ino}, nil
}

// now is a path of it: its own while that still leads there, since a process is called after it, and otherwise that of our descriptor, as our
// children see it too, whatever descriptors they have.
func (p program) now() string {
	var st unix.Stat_t
	if unix.Stat(p.path, &st) == nil && st.Dev == p.dev && st.Ino == p.ino {
		return p.path
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), p.fd)
}
