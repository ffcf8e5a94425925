package stage1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// killRounds bounds how often killCgroups looks again: a fork bomb may need several, nothing needs this many.
const killRounds = 1000

// killCgroups kills every process below dirs but those in except, and returns when there is none left. On v2 the kernel does it
// in one write (cgroup.kill, 5.14); on v1 a loop of pidfds is the substitute.
func killCgroups(dirs []string, except string) error {
	for round := range killRounds {
		left := 0
		for _, dir := range dirs {
			if dir == except {
				continue
			}
			_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) // v1, or older than 5.14: the loop does it
			n, err := killTree(dir)
			if err != nil {
				return err
			}
			left += n
		}
		if left == 0 {
			return nil
		}
		time.Sleep(min(time.Duration(round), 50) * time.Millisecond) //nolint:forbidigo // the kernel tells nobody when a v1 cgroup gets empty
	}
	return fmt.Errorf("processes in %s do not die", strings.Join(dirs, ", "))
}

// killTree sends SIGKILL to all below dir and returns how many there were.
func killTree(dir string) (int, error) {
	total := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil
		}
		for pid := range strings.FieldsSeq(string(data)) {
			total++
			killMember(pid)
		}
		return err
	})
	return total, err
}

// killMember kills a process that was listed in a cgroup of the pod. PID 0 is of another PID namespace.
func killMember(pid string) {
	n, err := strconv.Atoi(pid)
	if err != nil || n <= 1 || n == os.Getpid() {
		return
	}
	fd, err := unix.PidfdOpen(n, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
}
