package launch

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// sealedProgram opens the program at path so that nobody who gets hold of the running file, as every process of an
// app can through /proc, is able to change what is on the host (CVE-2019-5736). gantry-init is small enough for
// a copy in sealed memory to cost less than anything clever. Where such memory may not be executed
// (vm.memfd_noexec=2), a read-only mount that is in no namespace serves.
func sealedProgram(path string) (*os.File, error) {
	f, err := sealedCopy(path)
	if errors.Is(err, unix.EACCES) {
		return readOnlyMount(path)
	}
	return f, err
}

func sealedCopy(path string) (*os.File, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("gantry-init", flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("gantry-init", flags) // before kernel 6.3 all are executable
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	out := os.NewFile(uintptr(fd), "gantry-init")
	if err := fill(out, in); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, nil
}

func fill(out, in *os.File) error {
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	if err := out.Chmod(0o555); err != nil { // whatever user the app runs as
		return err
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(out.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal memory: %w", err)
	}
	return nil
}

func readOnlyMount(path string) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(fd)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return nil, os.NewSyscallError("mount_setattr", err)
	}
	file, err := unix.Openat(fd, "", unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) { // no O_EMPTYPATH: go through /proc
		file, err = unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, os.NewSyscallError("open", err)
	}
	return os.NewFile(uintptr(file), "gantry-init"), nil
}
