package stage1

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// checkOwners refuses a pod directory that somebody other than root could swap: every component of its path
// must be root's, and nobody else may write there (a sticky directory such as /tmp keeps others from renaming what is root's).
func checkOwners(path string) error {
	for p := path; ; p = filepath.Dir(p) {
		info, err := os.Lstat(p)
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Uid != 0 {
			return fmt.Errorf("%s is not owned by root", p)
		}
		if info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
			return fmt.Errorf("%s may be written by others than root: chmod go-w it", p)
		}
		if p == "/" {
			return nil
		}
	}
}
