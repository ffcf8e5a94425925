package bundle

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// passwd maps what looks like numbers to root: a runtime that looked them up as names would make root of anybody.
const passwd = `root:x:0:0:root:/root:/bin/sh
# a comment
web:x:101:102:web:/home/web:/bin/false
1000:x:0:0::/evil:/bin/sh
4294967296:x:0:0::/evil:/bin/sh
-1:x:0:0::/evil:/bin/sh
+5:x:0:0::/evil:/bin/sh
big:x:4294967295:0::/:/bin/sh
bigger:x:4294967296:0::/:/bin/sh
negative:x:-1:0::/:/bin/sh
broken
web2:x:500:notanumber::/:/bin/sh
`

const group = `root:x:0:
web:x:102:
extra:x:700:foo,web
logs:x:701:web,foo
broken:x:no:web
huge:x:4294967295:web
`

func TestResolve(t *testing.T) {
	acc := Accounts{Passwd: []byte(passwd), Group: []byte(group), Owner: func(path string) (uint32, uint32, error) {
		if path != "/srv" {
			return 0, 0, errors.New("no such file")
		}
		return 33, 34, nil
	}}
	for _, tt := range []struct {
		user, group string
		extra       []uint32
		want        Identity
	}{
		{"root", "", nil, Identity{Name: "root", Home: "/root"}},
		{"0", "", nil, Identity{Name: "root", Home: "/root"}},
		{"web", "", nil, Identity{UID: 101, GID: 102, Groups: []uint32{700, 701}, Name: "web", Home: "/home/web"}},
		{"web", "", []uint32{9, 700}, Identity{UID: 101, GID: 102, Groups: []uint32{9, 700, 701}, Name: "web", Home: "/home/web"}},
		{"web", "logs", nil, Identity{UID: 101, GID: 701, Name: "web", Home: "/home/web"}},
		{"web", "5", nil, Identity{UID: 101, GID: 5, Name: "web", Home: "/home/web"}},
		{"101", "", nil, Identity{UID: 101, GID: 102, Groups: []uint32{700, 701}, Name: "web", Home: "/home/web"}},
		{"1000", "", nil, Identity{UID: 1000, Home: "/"}},
		{"1000", "1000", nil, Identity{UID: 1000, GID: 1000, Home: "/"}},
		{"4294967294", "", nil, Identity{UID: 4294967294, Home: "/"}},
		{"/srv", "", nil, Identity{UID: 33, GID: 34, Home: "/"}},
		{"/srv", "/srv", []uint32{1}, Identity{UID: 33, GID: 34, Groups: []uint32{1}, Home: "/"}},
	} {
		got, err := Resolve(tt.user, tt.group, tt.extra, acc)
		if err != nil {
			t.Errorf("%s:%s: %v", tt.user, tt.group, err)
		} else if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s:%s: %s", tt.user, tt.group, diff)
		}
	}
	for _, bad := range [][2]string{
		{"4294967295", ""}, {"4294967296", ""}, {"2147483648000", ""}, {"18446744073709551616", ""}, {"-1", ""}, {"+5", ""},
		{"big", ""}, {"bigger", ""}, {"negative", ""}, {"nobody-here", ""}, {"web2", ""}, {"/nowhere", ""},
		{"web", "nogroup"}, {"web", "4294967295"}, {"web", "huge"}, {"web", "-1"}, {"web", "broken"},
	} {
		if id, err := Resolve(bad[0], bad[1], nil, acc); err == nil {
			t.Errorf("%v: accepted as %+v", bad, id)
		}
	}
	if _, err := Resolve("nobody-here", "", nil, acc); !errors.Is(err, ErrNoUser) {
		t.Errorf("unknown user: %v", err)
	}
}

func TestResolveWithoutAccounts(t *testing.T) {
	for user, want := range map[string]Identity{"root": {Name: "root", Home: "/root"}, "0": {Name: "root", Home: "/root"}, "7": {UID: 7, Home: "/"}} {
		if got, err := Resolve(user, "", nil, Accounts{}); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %+v %v", user, got, err)
		}
	}
	if _, err := Resolve("x", "", nil, Accounts{Passwd: []byte(strings.Repeat("a", MaxAccounts+1))}); err == nil {
		t.Error("a huge passwd was read")
	}
}

func TestUser(t *testing.T) {
	for _, tt := range []struct{ image, user, group, want string }{
		{"", "", "", "0:"}, {"web", "", "", "web:"}, {"web:logs", "", "", "web:logs"}, {"web:logs", "root", "", "root:"},
		{"web:logs", "", "5", "web:5"}, {"", "1:2", "", "1:2"}, {"", "1:2", "3", "1:2:3"}, {":logs", "", "", "0:logs"},
	} {
		u, g := User(ocispec.Image{Config: ocispec.ImageConfig{User: tt.image}}, App{User: tt.user, Group: tt.group})
		if u+":"+g != tt.want {
			t.Errorf("%+v: %s:%s", tt, u, g)
		}
	}
}

func FuzzResolve(f *testing.F) {
	f.Add("web", "logs", []byte(passwd), []byte(group))
	f.Fuzz(func(t *testing.T, user, grp string, p, g []byte) {
		id, err := Resolve(user, grp, nil, Accounts{Passwd: p, Group: g})
		if err == nil && isNumber(user) && id.UID == 0 && strings.Trim(user, "0") != "" {
			t.Errorf("%q became root", user)
		}
	})
}
