package layer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What has changed in an unpacked tree is found, whatever it is. (That a whole one passes, every test of unpack sees.)
func TestCheck(t *testing.T) {
	needRoot(t)
	s, err := scanAll(t, archive(t, dir("d", 0o755), file("d/f", strings.Repeat("x", 200_000)).xattr("user.a", "1"), symlink("d/s", "f"),
		file("one", "x"), hardlink("two", "one"), special('3', "null", 1, 3), fifo("p")))
	if err != nil {
		t.Fatal(err)
	}
	edit := func(path string, change func(f *os.File) error) error {
		return keepTime(path, func() error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			return errors.Join(change(f), f.Close())
		})
	}
	again := func(path string, make func() error) error {
		return keepTime(filepath.Dir(path), func() error {
			var st unix.Stat_t
			if err := errors.Join(unix.Lstat(path, &st), os.Remove(path), make()); err != nil {
				return err
			}
			if st.Mode&unix.S_IFMT != unix.S_IFLNK {
				if err := unix.Chmod(path, st.Mode&0o7777); err != nil {
					return err
				}
			}
			return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{st.Mtim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
		})
	}
	for want, change := range map[string]func(root string) error{
		`"/d/f": differs from what the layers give: another content, at byte 131072`: func(root string) error {
			return edit(root+"/d/f", func(f *os.File) error { _, err := f.WriteAt([]byte("y"), 150_000); return err })
		},
		`"/d/f": differs from what the layers give: another size`: func(root string) error {
			return edit(root+"/d/f", func(f *os.File) error { return f.Truncate(199_999) })
		},
		`another xattr "user.a"`: func(root string) error { return unix.Setxattr(root+"/d/f", "user.a", []byte("2"), 0) },
		`more xattrs`:            func(root string) error { return unix.Setxattr(root+"/d", "user.b", nil, 0) },
		`another mode`:           func(root string) error { return os.Chmod(root+"/d/f", 0o755|os.ModeSetuid) },
		`another owner`:          func(root string) error { return os.Lchown(root+"/d/s", 1, 0) },
		`another time`:           func(root string) error { return os.Chtimes(root+"/one", time.Now(), time.Now()) },
		`another target`: func(root string) error {
			return again(root+"/d/s", func() error { return os.Symlink("g", root+"/d/s") })
		},
		`"/null": differs from what the layers give: another device number`: func(root string) error {
			return again(root+"/null", func() error { return unix.Mknod(root+"/null", unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))) })
		},
		`another type`: func(root string) error {
			return again(root+"/p", func() error { return os.WriteFile(root+"/p", nil, 0o644) })
		},
		`another number of links`: func(root string) error { return os.Link(root+"/d/f", filepath.Dir(root)+"/elsewhere") },
		`other names`: func(root string) error {
			return keepTime(root+"/d", func() error { return os.WriteFile(root+"/d/new", nil, 0o644) })
		},
	} {
		if err := errors.Join(os.RemoveAll(filepath.Join(s.dir, "fs")), os.RemoveAll(filepath.Join(s.dir, "elsewhere"))); err != nil {
			t.Fatal(err)
		}
		root := s.unpack(t)
		if err := change(root); err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		if err := s.tree.Check(t.Context(), root, s.tars); !errors.Is(err, ErrDiffers) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func keepTime(path string, change func() error) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return errors.Join(change(), os.Chtimes(path, info.ModTime(), info.ModTime()))
}
