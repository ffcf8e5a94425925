package launch

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/runc/libcontainer"

	"github.com/gantryrun/gantry/pods"
)

// maxGroups is how many supplementary groups a process may have (NGROUPS_MAX).
const maxGroups = 65536

// checkGroups refuses what setgroups(2) would, without saying why.
func checkGroups(groups int) error {
	if groups > maxGroups {
		return fmt.Errorf("the user is in %d groups, of which the kernel takes %d", groups, maxGroups)
	}
	return nil
}

// clearer says in one line what is wrong with the image or the command line, where err is libcontainer's chain about it. What its second
// stage says comes as text only. Any other error is returned as it is.
func clearer(err error, process *libcontainer.Process, app *pods.LaunchApp) error {
	text := err.Error()
	_, path, ok := strings.Cut(text, "container init: mkdir ")
	if path, isNot := strings.CutSuffix(path, ": not a directory"); ok && isNot && strings.HasPrefix(process.Cwd+"/", path+"/") {
		return fmt.Errorf("working directory %s: %s is not a directory", process.Cwd, path)
	}
	reason := text[strings.LastIndex(text, ": ")+1:]
	if _, sysctl, ok := strings.Cut(text, "open sysctl "); ok {
		name, _, _ := strings.Cut(sysctl, " file: ")
		return fmt.Errorf("sysctl %s:%s: the namespaces of the pod have no such parameter", name, reason)
	}
	if _, sysctl, ok := strings.Cut(text, "failed to write sysctl "); ok {
		name, _, _ := strings.Cut(sysctl, ": ")
		return fmt.Errorf("sysctl %s:%s", name, reason)
	}
	if strings.Contains(text, "chdir to cwd (") {
		return fmt.Errorf("working directory %s:%s", process.Cwd, reason)
	}
	if strings.HasSuffix(text, "failed to update /proc/self/oom_score_adj: Permission denied") {
		return errors.New("set OOM score: gantry itself has no right to lower it (CAP_SYS_RESOURCE)")
	}
	if app == nil || !strings.HasSuffix(text, ": not a directory") {
		return err
	}
	for target, source := range app.Files {
		if strings.Contains(text, fmt.Sprintf("error mounting %q to rootfs at %q:", source, target)) {
			return fmt.Errorf("mount %s: the image has a directory there", target)
		}
	}
	if _, mount, ok := strings.Cut(text, "error mounting "); ok {
		what, _, _ := strings.Cut(mount, ": ")
		return fmt.Errorf("mount %s: one is a directory, and the other is not", strings.Replace(what, " to rootfs at ", " on ", 1))
	}
	return err
}
