package stage1

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Who does not die within the time is named. (It is this process, which killCgroups never kills, in something that looks like a cgroup.)
func TestKillCgroupsGivesUp(t *testing.T) {
	dir := t.TempDir()
	own := strconv.Itoa(os.Getpid())
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(own+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := killCgroups([]string{dir, dir}, "", 0)
	if err == nil || !strings.HasPrefix(err.Error(), "these processes do not die: "+own+" (") || strings.Contains(err.Error(), "more") {
		t.Errorf("error %v", err)
	}
	if err := killCgroups([]string{dir}, dir, 0); err != nil {
		t.Error(err)
	}
}
