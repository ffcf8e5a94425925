// Package hosts boots machines with a real systemd, on which tests run gantry as its users do: from units.
//
// It knows how to make Debian's tree, to boot its systemd as PID 1 of new namespaces in half a second (hybrid
// cgroups, this machine's kernel), and to boot it in User-mode Linux (pure cgroup v2, a kernel of its own). It
// never changes the machine outside: all that it makes there is a cgroup per hierarchy, gantry-host-*, removed with the
// host. Invariant: when a host's first process ends, the kernel ends everything on it.
//
//	/usr/libexec/gantry    this tree's programs, from the test    read-only
//	/usr/bin/gantry        a link to there
//	/var/lib/gantry        a directory of the test's: an overlay can hold neither EROFS files nor an overlay
//	/mnt                   the test's share with the host
package hosts
