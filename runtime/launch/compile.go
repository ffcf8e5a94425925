package launch

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"unsafe"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// compile returns the very filter that libcontainer would install for profile, with everything that it adds
// (ENOSYS for system calls that are newer than the profile, for one).
//
// libcontainer only installs filters, it does not hand them out. So it gets to install this one on a thread whose
// attempts are reported to us first: we read the filter out of the call's arguments, refuse the call, and
// throw the thread away.
//
//	thread A (locked, dies)              this goroutine
//	  │ filter: report seccomp(2)
//	  ├─ libcontainer.InitSeccomp
//	  │    └─ seccomp(SET, flags, prog) ──▶ poll, receive
//	  │                                     read prog from our own memory
//	  │ ◀────────────── ECANCELED ───────── respond
//
// It must not run twice at the same time.
func compile(profile *specs.LinuxSeccomp) (*filter, error) {
	config, err := specconv.SetupSeccomp(profile)
	if err != nil {
		return nil, err
	}
	if config == nil {
		return nil, errors.New("the profile is empty")
	}
	if config.ListenerPath != "" {
		return nil, errNotCacheable // its listener has to be passed on at each start
	}
	// The thread waits inside a raw system call, which keeps its processor: there has to be another one, and
	// nothing may try to stop the world meanwhile.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0))))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))

	end, endW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer end.Close()
	listeners := make(chan int, 1)
	failed := make(chan error, 1)
	go func() {
		defer endW.Close()
		failed <- installOnThread(config, listeners)
	}()
	listener, ok := <-listeners
	if !ok {
		return nil, <-failed
	}
	defer unix.Close(listener)
	f, err := intercept(listener, int(end.Fd()))
	if err != nil {
		return nil, errors.Join(err, <-failed)
	}
	return f, nil
}

// installOnThread tries to install config on a thread that it ruins, after it sent the descriptor that
// reports the attempt.
func installOnThread(config *configs.Seccomp, listeners chan<- int) error {
	defer close(listeners)
	runtime.LockOSThread() // and never unlock: the thread dies with the goroutine
	report := reportFilter()
	program := unix.SockFprog{Len: uint16(len(report)), Filter: &report[0]}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 { // EBUSY: gantry itself runs under such a filter, as in an LXD container
		return fmt.Errorf("%w: listen to seccomp(2): %w", errNotCacheable, errno)
	}
	listeners <- int(fd)
	_, err := seccomp.InitSeccomp(config)
	return err
}

// reportFilter lets everything pass but an attempt to install a filter. libseccomp makes some without one, to find
// out what the kernel can do.
func reportFilter() []unix.SockFilter {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		result = unix.BPF_RET | unix.BPF_K
		number = 0  // offsetof(struct seccomp_data, nr)
		first  = 16 // its args[0], the half that is not zero on a little-endian machine
		third  = 32 // its args[2]
	)
	return []unix.SockFilter{
		{Code: load, K: number},
		{Code: equal, K: unix.SYS_SECCOMP, Jf: 6},
		{Code: load, K: first},
		{Code: equal, K: unix.SECCOMP_SET_MODE_FILTER, Jf: 4},
		{Code: load, K: third},
		{Code: equal, K: 0, Jf: 3},
		{Code: load, K: third + 4},
		{Code: equal, K: 0, Jf: 1},
		{Code: result, K: unix.SECCOMP_RET_ALLOW},
		{Code: result, K: unix.SECCOMP_RET_USER_NOTIF},
	}
}

// notification and response are struct seccomp_notif and struct seccomp_notif_resp.
type notification struct {
	id         uint64
	pid, flags uint32
	number     int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type response struct {
	id    uint64
	value int64
	err   int32
	flags uint32
}

// intercept waits for the attempt, takes the filter out of it and refuses it. end becomes readable when no attempt
// will come.
func intercept(listener, end int) (*filter, error) {
	fds := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}, {Fd: int32(end), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("poll", err)
		}
		if fds[0].Revents&unix.POLLIN == 0 {
			return nil, errors.New("libcontainer installed no filter")
		}
		f, err := take(listener)
		if !errors.Is(err, unix.ENOENT) { // a signal (the scheduler's) made the thread try again
			return f, err
		}
	}
}

// take handles one attempt.
func take(listener int) (*filter, error) {
	var n notification
	if err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); err != nil {
		return nil, fmt.Errorf("receive seccomp notification: %w", err)
	}
	f, err := readFilter(uintptr(n.args[2]))
	r := response{id: n.id, err: -int32(unix.ECANCELED)}
	if err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r)); err != nil {
		return nil, fmt.Errorf("answer seccomp notification: %w", err)
	}
	if err != nil {
		return nil, err
	}
	f.flags = uint32(n.args[1])
	return f, nil
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}

// readFilter copies the program that the struct sock_fprog at address describes. It is our own memory, but read as a
// stranger's: the address came from the kernel, as a number.
func readFilter(address uintptr) (*filter, error) {
	var program unix.SockFprog
	header := unsafe.Slice((*byte)(unsafe.Pointer(&program)), unsafe.Sizeof(program))
	if err := readMemory(header, address); err != nil {
		return nil, err
	}
	if program.Len == 0 || program.Len > maxPrograms {
		return nil, fmt.Errorf("a filter of %d instructions", program.Len)
	}
	f := &filter{program: make([]byte, int(program.Len)*instruction)}
	return f, readMemory(f.program, uintptr(unsafe.Pointer(program.Filter)))
}

func readMemory(into []byte, address uintptr) error {
	local := []unix.Iovec{{Base: &into[0], Len: uint64(len(into))}}
	remote := []unix.RemoteIovec{{Base: address, Len: len(into)}}
	n, err := unix.ProcessVMReadv(os.Getpid(), local, remote, 0)
	if err != nil {
		return os.NewSyscallError("process_vm_readv", err)
	}
	if n != len(into) {
		return fmt.Errorf("process_vm_readv: %d of %d bytes", n, len(into))
	}
	return nil
}
