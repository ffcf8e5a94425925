package launch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxAccounts bounds passwd and group of an app.
const maxAccounts = 4 << 20

// maxID is the largest user or group there is: 2^32-1 means "no change" to the kernel, and would leave root in place.
const maxID = 1<<32 - 2

// lookUp finds out who who is, "USER[:GROUP]", in the files below root, and where that user is at home. What looks like
// a number is never looked up as a name: a passwd line "1000:x:0:0" must not make root of 1000. (Package bundle does the
// same for stage0, but brings the image specification along, which costs every start a quarter of a millisecond.)
func lookUp(who string, root *os.File) (specs.User, string, error) {
	name, group, _ := strings.Cut(who, ":")
	uid, err := number(name)
	if err != nil && !errors.Is(err, errNoNumber) {
		return specs.User{}, "", fmt.Errorf("user %q: %w", name, err)
	}
	isNumber := err == nil
	accounts, err := readAccounts(root, name, uid, isNumber)
	if err != nil {
		return specs.User{}, "", err
	}
	found, home := specs.User{UID: uid}, "/"
	if len(accounts) > 0 {
		found.UID, found.GID, home = uint32(accounts[0].Uid), uint32(accounts[0].Gid), accounts[0].Home
	} else if !isNumber {
		return specs.User{}, "", fmt.Errorf("user %q: %w", name, errNoNumber)
	}
	groups, err := readGroups(root)
	if err != nil {
		return found, "", err
	}
	if group != "" {
		found.GID, err = findGroup(group, groups)
		return found, home, err
	}
	for _, g := range groups {
		if len(accounts) > 0 && slices.Contains(g.List, accounts[0].Name) && g.Gid >= 0 && g.Gid <= maxID {
			found.AdditionalGids = append(found.AdditionalGids, uint32(g.Gid))
		}
	}
	return found, home, nil
}

// errNoNumber is for a name that was looked up, and not found.
var errNoNumber = errors.New("no such user or group in the app")

// number parses a user or group number; errNoNumber says that s does not look like one.
func number(s string) (uint32, error) {
	if s == "" || strings.Trim(strings.TrimLeft(s, "+-"), "0123456789") != "" {
		return 0, errNoNumber
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > maxID {
		return 0, fmt.Errorf("not between 0 and %d", uint32(maxID))
	}
	return uint32(n), nil
}

// readAccounts returns the lines of passwd for uid, or for name.
func readAccounts(root *os.File, name string, uid uint32, isNumber bool) ([]user.User, error) {
	data, err := readIn(root, "etc/passwd")
	if err != nil {
		return nil, err
	}
	return user.ParsePasswdFilter(bytes.NewReader(data), func(u user.User) bool {
		valid := u.Uid >= 0 && u.Uid <= maxID && u.Gid >= 0 && u.Gid <= maxID
		if isNumber {
			return valid && u.Uid == int(uid)
		}
		return valid && u.Name == name
	})
}

func readGroups(root *os.File) ([]user.Group, error) {
	data, err := readIn(root, "etc/group")
	if err != nil {
		return nil, err
	}
	return user.ParseGroup(bytes.NewReader(data))
}

func findGroup(name string, groups []user.Group) (uint32, error) {
	gid, err := number(name)
	if err == nil {
		return gid, nil
	}
	if !errors.Is(err, errNoNumber) {
		return 0, fmt.Errorf("group %q: %w", name, err)
	}
	for _, g := range groups {
		if g.Name == name && g.Gid >= 0 && g.Gid <= maxID {
			return uint32(g.Gid), nil
		}
	}
	return 0, fmt.Errorf("group %q: %w", name, err)
}

// readIn reads a file below root as the app would see it. The app shapes that tree, while we look: links stay inside,
// a FIFO does not hold us up (CVE-2024-9676), and more than an account file ever needs is refused. A file that is
// not there is empty.
func readIn(root *os.File, path string) ([]byte, error) {
	fd, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open in app", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s in app: not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxAccounts+1))
	if err == nil && len(data) > maxAccounts {
		err = fmt.Errorf("read %s in app: larger than %d bytes", path, maxAccounts)
	}
	return data, err
}
