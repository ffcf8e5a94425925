package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// furniture is what every program expects beside its image: kernel file systems, devices, a few files. libcontainer looks each target up anew,
// and checks it before and after, with 40 to 130 system calls for each of some 30; in the plain case 2 to 5 do, and are as safe.
//
//	gantry-launch                                              second stage, in the app's namespaces
//	  │ takes what is plain out of libcontainer's configuration    │
//	  ├─ the list, a memory file: the last of the process's files ▶ │ Furnish: mounts it below the root file system
//	  │                                                            │ libcontainer: binds that, with all that is on it; mounts the rest, pivots
//
// The configuration on disk stays whole.
type furniture struct {
	Rootfs string
	Status int     // descriptor where a failure is told, as gantry-init does
	Mounts []piece // in their order
	Dirs   []dir   // what else is in some of them
}

// piece is one mount.
type piece struct {
	Target, Source, Type, Data string
	Flags                      int
	Propagation                []int
	File                       bool // the target is a file, not a directory
}

// dir is a directory in a file system that one of the mounts has made.
type dir struct {
	Path  string
	Nodes []node
	Links []link
}

type node struct {
	Name     string
	Mode     uint32 // with its kind
	Device   int
	UID, GID int
}

type link struct{ Name, Text string }

// maxFurniture is more than some 30 pieces and the devices that an app may be given need.
const maxFurniture = 256 << 10

// give adds the list to the files of process, behind all others.
func (f *furniture) give(process *libcontainer.Process, status int) (*os.File, error) {
	f.Status = status
	fd, err := unix.MemfdCreate("furniture", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "furniture")
	data, err := json.Marshal(f)
	if err == nil && len(data) > maxFurniture {
		err = errors.New("too many devices")
	}
	if err == nil {
		_, err = file.WriteAt(data, 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("hand over mounts: %w", err), file.Close())
	}
	process.ExtraFiles = append(process.ExtraFiles, file)
	return file, nil
}

// given reads what give has handed over. libcontainer puts its own descriptors, which it names in the environment, behind ours.
func given() (*furniture, error) {
	first := -1
	for _, name := range []string{"_LIBCONTAINER_INITPIPE", "_LIBCONTAINER_CONSOLE"} {
		if fd, err := strconv.Atoi(os.Getenv(name)); err == nil && (first < 0 || fd < first) {
			first = fd
		}
	}
	if first <= standard {
		return nil, errors.New("read mounts: the descriptor is not there")
	}
	unix.CloseOnExec(first - 1) // it is the app's program that comes next
	data := make([]byte, maxFurniture)
	n, err := unix.Pread(first-1, data, 0)
	f := &furniture{}
	if err == nil {
		err = json.Unmarshal(data[:n], f)
	}
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	return f, nil
}

// Furnish is the part of the second stage that comes before libcontainer's own. It is called once, before anything else runs in the process;
// where it fails it says so to the launcher, and does not return.
func Furnish() {
	if os.Getenv("_LIBCONTAINER_INITTYPE") != "standard" {
		return // a command that enters: the app has its mounts
	}
	status := 2
	f, err := given()
	if err == nil {
		status = f.Status
		err = f.mount()
	}
	if err != nil {
		_, _ = unix.Write(status, fmt.Appendf(nil, "%d %v\n", codeInternal, err))
		os.Exit(codeInternal)
	}
}
