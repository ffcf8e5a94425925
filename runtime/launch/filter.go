package launch

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"

	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantryrun/gantry/pods"
	"github.com/gantryrun/gantry/pods/atomicfile"
)

// filter is a compiled seccomp profile: what seccomp(2) takes.
type filter struct {
	program []byte // struct sock_filter, one after the other
	flags   uint32
}

// A cached filter is a file: the program, its flags (4 bytes), formatMark, and a SHA-256 of all that decides what
// the program had to be. A file that was cut short, is empty or belongs to another profile or another libseccomp is
// compiled anew: never does a bad file mean no filter.
const (
	formatMark   = "gsf1"
	instruction  = 8    // bytes of struct sock_filter
	maxPrograms  = 4096 // BPF_MAXINSNS
	trailerBytes = 4 + len(formatMark) + sha256.Size
)

// errNotCacheable is for profiles that only libcontainer itself can install.
var errNotCacheable = errors.New("filter cannot be compiled beforehand")

// compiling lets one goroutine compile at a time. Two would dead-lock: each waits in a raw system call on its thread
// while the other stops the world to set GOMAXPROCS.
var compiling sync.Mutex

// filters are those of one request: apps mostly share one, and no two may be compiled at the same time (see compile).
type filters struct {
	mu     sync.Mutex
	loaded map[pods.Seccomp]*filter
}

// use returns the compiled filter of profile. Nil without an error: there is none, or libcontainer has to install it, and
// spec says so.
func (fs *filters) use(profile *pods.Seccomp, spec *specs.Spec) (*filter, error) {
	if profile == nil {
		return nil, nil
	}
	if !spec.Process.NoNewPrivileges {
		return nil, errors.New("install seccomp filter: a cached one needs no_new_privileges")
	}
	f, err := fs.load(profile)
	if !errors.Is(err, errNotCacheable) {
		return f, err
	}
	source, err := os.ReadFile(profile.Profile)
	if err != nil {
		return nil, err
	}
	spec.Linux.Seccomp = &specs.LinuxSeccomp{}
	return nil, json.Unmarshal(source, spec.Linux.Seccomp)
}

func (fs *filters) load(profile *pods.Seccomp) (*filter, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.loaded[*profile]; f != nil {
		return f, nil
	}
	f, err := loadFilter(profile)
	if err != nil {
		return nil, err
	}
	if fs.loaded == nil {
		fs.loaded = map[pods.Seccomp]*filter{}
	}
	fs.loaded[*profile] = f
	return f, nil
}

// loadFilter returns the compiled form of profile, from the cache where it is good, else fresh and then cached.
// Apps that start at once and share a profile compile it once.
func loadFilter(profile *pods.Seccomp) (*filter, error) {
	source, err := os.ReadFile(profile.Profile)
	if err != nil {
		return nil, fmt.Errorf("read seccomp profile: %w", err)
	}
	if f, err := cachedFilter(profile.Program, source); f != nil || err != nil {
		return f, err
	}
	compiling.Lock()
	defer compiling.Unlock()
	if f, err := cachedFilter(profile.Program, source); f != nil || err != nil {
		return f, err
	}
	spec := &specs.LinuxSeccomp{}
	if err := json.Unmarshal(source, spec); err != nil {
		return nil, fmt.Errorf("read seccomp profile %s: %w", profile.Profile, err)
	}
	f, err := compile(spec)
	if err != nil {
		return nil, fmt.Errorf("compile seccomp profile %s: %w", profile.Profile, err)
	}
	if err := atomicfile.Write(profile.Program, 0o600, f.encode(source), false); err != nil {
		return nil, fmt.Errorf("cache seccomp filter: %w", err)
	}
	return f, nil
}

// cachedFilter returns nil where the cache has no filter that was compiled from source.
func cachedFilter(file string, source []byte) (*filter, error) {
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read seccomp filter: %w", err)
	}
	return decodeFilter(data, source), nil
}

func (f *filter) encode(source []byte) []byte {
	data := binary.NativeEndian.AppendUint32(bytes.Clone(f.program), f.flags)
	data = append(data, formatMark...)
	return append(data, checksum(data, source)...)
}

// decodeFilter returns nil for data that is not a filter compiled from source.
func decodeFilter(data, source []byte) *filter {
	size := len(data) - trailerBytes
	if size <= 0 || size%instruction != 0 || size/instruction > maxPrograms {
		return nil
	}
	body, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	if !bytes.HasSuffix(body, []byte(formatMark)) || !bytes.Equal(sum, checksum(body, source)) {
		return nil
	}
	return &filter{program: data[:size], flags: binary.NativeEndian.Uint32(data[size:])}
}

// checksum covers the filter, and what it was made of.
func checksum(body, source []byte) []byte {
	major, minor, micro := seccomp.Version() // a newer one knows more system calls
	h := sha256.New()
	fmt.Fprintf(h, "%s %d.%d.%d %d\n", runtime.GOARCH, major, minor, micro, len(body))
	h.Write(body)
	h.Write(source)
	return h.Sum(nil)
}

// pipe returns the program as a pipe that holds all of it: read once, by whoever gets it, and beyond anybody's reach
// after it was checked. (A pipe takes 64 KB, a program has at most 32.)
func (f *filter) pipe() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	if len(f.program) > 4096 { // one page: what a pipe holds where the user's allowance is used up
		if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, maxPrograms*instruction); err != nil {
			return nil, errors.Join(os.NewSyscallError("fcntl(F_SETPIPE_SZ)", err), r.Close(), w.Close())
		}
	}
	_, err = w.Write(f.program)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}
