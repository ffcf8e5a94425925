package bundle

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxAccounts bounds passwd and group: a hostile image must not make us read a gigabyte.
const MaxAccounts = 4 << 20

// maxID is the largest user or group there is: 2^32-1 means "no change" to the kernel, and would leave root in place.
const maxID = 1<<32 - 2

// ErrNoUser: a name that the image's passwd or group does not have.
var ErrNoUser = errors.New("no such user or group in the image")

// Identity is who an app runs as.
type Identity struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
	Name     string   // in the image's passwd; may be empty
	Home     string
}

// Accounts are the image's files, and a way to ask for the owner of a path in it. Owner may be nil.
type Accounts struct {
	Passwd, Group []byte
	Owner         func(path string) (uid, gid uint32, err error)
}

// User is the user and group that app runs as, as written: by the flags, else by the image, else root.
func User(img ocispec.Image, app App) (user, group string) {
	user, group = app.User, app.Group
	if user == "" {
		var imageGroup string
		user, imageGroup, _ = strings.Cut(img.Config.User, ":")
		if group == "" {
			group = imageGroup
		}
	} else if u, g, ok := strings.Cut(user, ":"); ok && group == "" && !strings.HasPrefix(user, "/") {
		user, group = u, g
	}
	if user == "" {
		user = "0"
	}
	return user, group
}

// Resolve finds out who user and group are: a number, a name of the image's files, or the owner of a path in the image.
// What looks like a number is never looked up as a name: a passwd line "1000:x:0:0" must not make root of 1000.
func Resolve(user, group string, extra []uint32, acc Accounts) (Identity, error) {
	if len(acc.Passwd) > MaxAccounts || len(acc.Group) > MaxAccounts {
		return Identity{}, fmt.Errorf("image's passwd or group is larger than %d bytes", MaxAccounts)
	}
	id, named, err := resolveUser(user, acc)
	if err != nil {
		return Identity{}, fmt.Errorf("user %q: %w", user, err)
	}
	switch {
	case group != "":
		if id.GID, err = resolveGroup(group, acc); err != nil {
			return Identity{}, fmt.Errorf("group %q: %w", group, err)
		}
	case named:
		id.Groups = memberships(id.Name, acc.Group)
	}
	id.Groups = append(id.Groups, extra...)
	slices.Sort(id.Groups)
	id.Groups = slices.Compact(id.Groups)
	if id.Home == "" {
		id.Home = "/"
	}
	return id, nil
}

func resolveUser(user string, acc Accounts) (id Identity, named bool, err error) {
	switch {
	case strings.HasPrefix(user, "/"):
		if acc.Owner == nil {
			return id, false, errors.New("no root to look in")
		}
		id.UID, id.GID, err = acc.Owner(user)
		return id, false, err
	case isNumber(user):
		if id.UID, err = ParseID(user); err != nil {
			return id, false, err
		}
		// The account gives group, home and name where there is one; the user stays the number.
		for _, f := range lines(acc.Passwd, 7) {
			if uid, err := ParseID(f[2]); err == nil && uid == id.UID {
				gid, err := ParseID(f[3])
				return Identity{UID: uid, GID: gid, Name: f[0], Home: f[5]}, err == nil, err
			}
		}
		if id.UID == 0 {
			id.Name, id.Home = "root", "/root" // an image without a passwd still has a root
		}
		return id, false, nil
	}
	for _, f := range lines(acc.Passwd, 7) {
		if f[0] != user {
			continue
		}
		uid, err1 := ParseID(f[2])
		gid, err2 := ParseID(f[3])
		return Identity{UID: uid, GID: gid, Name: user, Home: f[5]}, true, errors.Join(err1, err2)
	}
	if user == "root" {
		return Identity{Name: "root", Home: "/root"}, false, nil
	}
	return id, false, ErrNoUser
}

func resolveGroup(group string, acc Accounts) (uint32, error) {
	switch {
	case strings.HasPrefix(group, "/"):
		if acc.Owner == nil {
			return 0, errors.New("no root to look in")
		}
		_, gid, err := acc.Owner(group)
		return gid, err
	case isNumber(group):
		return ParseID(group)
	}
	for _, f := range lines(acc.Group, 3) {
		if f[0] == group {
			return ParseID(f[2])
		}
	}
	if group == "root" {
		return 0, nil
	}
	return 0, ErrNoUser
}

// memberships are the groups that list user. A line that is broken is nobody's group.
func memberships(user string, group []byte) []uint32 {
	var gids []uint32
	for _, f := range lines(group, 4) {
		if !slices.Contains(strings.Split(f[3], ","), user) {
			continue
		}
		if gid, err := ParseID(f[2]); err == nil {
			gids = append(gids, gid)
		}
	}
	return gids
}

// ParseID parses a user or group number, 0 to 4294967294.
func ParseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > maxID {
		return 0, fmt.Errorf("number %q is not between 0 and %d", clip(s), uint32(maxID))
	}
	return uint32(n), nil
}

// isNumber reports whether s is to be read as a number, also where it is no valid one: "-1" and "+5" are no names.
func isNumber(s string) bool {
	return s != "" && strings.Trim(strings.TrimLeft(s, "+-"), "0123456789") == ""
}

// lines are the lines of a colon-separated file that have at least n fields.
func lines(data []byte, n int) [][]string {
	var all [][]string
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, MaxAccounts+1)
	for sc.Scan() {
		if f := strings.Split(strings.TrimSpace(sc.Text()), ":"); len(f) >= n {
			all = append(all, f)
		}
	}
	return all
}
