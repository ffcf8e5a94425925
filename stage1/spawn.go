package stage1

import (
	"os"
	"runtime"
	"syscall"
)

// spawn starts program in / with an empty environment; files become its descriptors from 0 on. The event loop reaps it, by PID. Package os
// would first fork a probe, to learn whether the kernel has pidfds: we could not run without.
func spawn(program string, argv []string, files []*os.File, sys *syscall.SysProcAttr) (pid int, err error) {
	attr := &syscall.ProcAttr{Dir: "/", Env: []string{}, Sys: sys}
	for _, f := range files {
		if f == nil {
			attr.Files = append(attr.Files, ^uintptr(0)) // a descriptor that stays closed
			continue
		}
		attr.Files = append(attr.Files, f.Fd())
	}
	defer runtime.KeepAlive(files)
	return syscall.ForkExec(program, argv, attr)
}
