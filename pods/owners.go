package pods

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// CheckOwners refuses a path that somebody other than root could swap: every component that is there must be root's, and
// nobody else may write there (a sticky directory such as /tmp keeps others from renaming what is root's). path is absolute.
func CheckOwners(path string) error {
	for p := path; ; p = filepath.Dir(p) {
		info, err := os.Lstat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist) && p != "/": // to be made, below what is there
			continue
		case err != nil:
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Uid != 0 {
			return fmt.Errorf("%s is not owned by root", p)
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			real, err := filepath.EvalSymlinks(p)
			if err == nil {
				err = CheckOwners(real)
			}
			if err != nil {
				return err
			}
			continue
		}
		if info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
			return fmt.Errorf("%s may be written by others than root: chmod go-w it", p)
		}
		if p == "/" {
			return nil
		}
	}
}
