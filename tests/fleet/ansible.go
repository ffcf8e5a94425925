package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ansible has Ansible do to one instance of the first host what the shell scripts did to all: it is switched, and its neighbour, which is up
// to date, left alone; a sick release is taken back; and it is switched again. Releases are 2 before and after.
func ansible(ctx context.Context, l *lab) (string, error) {
	h := l.hosts[0]
	one, other := h.instances[len(h.instances)-1], h.instances[len(h.instances)-2]
	if err := l.inventory(ctx, h); err != nil {
		return "", err
	}
	const pid = "systemctl show --value -p MainPID pod@"
	before, err := h.sh(ctx, pid+other.name)
	if err != nil {
		return "", err
	}
	for _, run := range []struct {
		from, is, wants string
		gate            int // in seconds
		fails           bool
	}{
		{"1", "1", "one switched", 120, false},
		{"3", "1", "a sick release, taken back", l.gate, true},
		{"2", "2", "switched again", 120, false},
	} {
		said, err := l.playbook(ctx, h, map[instance]string{one: run.from, other: "2"}, run.gate)
		if failed := err != nil; failed != run.fails || failed && !strings.Contains(said, one.name+" did not become ready, and is what it was before") {
			return "", fmt.Errorf("%s: %w: %s", run.wants, err, said)
		}
		if s, err := one.ask(ctx); err != nil || s.Release != run.is {
			return "", fmt.Errorf("%s: %s is release %s, not %s: %w: %s", run.wants, one.name, s.Release, run.is, err, said)
		}
	}
	after, err := h.sh(ctx, pid+other.name)
	if err == nil && before != after {
		err = fmt.Errorf("%s was up to date, and was restarted", other.name)
	}
	return "1 instance switched, a sick release taken back (" + fmt.Sprint(l.gate) + " s of it the gate), switched again; its neighbour untouched", err
}

// playbook runs the example's tasks for instances of a host, each with the file of a release.
func (l *lab) playbook(ctx context.Context, h *host, files map[instance]string, gate int) (string, error) {
	out := filepath.Join(l.work, "out-ansible")
	if err := errors.Join(os.RemoveAll(out), os.MkdirAll(filepath.Join(out, h.name), 0o755)); err != nil {
		return "", err
	}
	for i, release := range files {
		name := filepath.Join(h.name, i.name+".env")
		text, err := os.ReadFile(filepath.Join(l.output(release), name))
		if err == nil {
			err = os.WriteFile(filepath.Join(out, name), text, 0o644)
		}
		if err != nil {
			return "", err
		}
	}
	cmd := exec.CommandContext(ctx, "ansible-playbook", "-i", filepath.Join(l.work, "inventory.yml"), "site.yml", "-e", "out="+out, "-e", fmt.Sprint("gate=", gate))
	cmd.Dir = l.example("ansible")
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+l.work, "ANSIBLE_HOST_KEY_CHECKING=False", "ANSIBLE_NOCOLOR=1", "ANSIBLE_PIPELINING=1")
	said, err := cmd.CombinedOutput()
	return string(said), err
}

// inventory gives Ansible its way to a host: in place of ssh a script that leaves out ssh's options, and this machine's Python.
func (l *lab) inventory(ctx context.Context, h *host) error {
	ssh, python := filepath.Join(l.work, "ssh"), filepath.Join(h.Share, "python")
	script := "#!/bin/sh\nwhile :; do case $1 in -o) shift 2 ;; -*) shift ;; *) break ;; esac; done\nhost=$1; shift\nexec " + filepath.Join(l.work, "remote") + " \"$host\" sh -c \"$*\"\n"
	if err := os.WriteFile(ssh, []byte(script), 0o755); err != nil {
		return err
	}
	const copyPython = `import os, shutil, sys
lib = os.path.dirname(os.__file__)
os.makedirs(sys.argv[1] + "/bin")
shutil.copy(os.path.realpath(sys.executable), sys.argv[1] + "/bin/python3")
shutil.copytree(lib, sys.argv[1] + "/lib/" + os.path.basename(lib), ignore=shutil.ignore_patterns("test", "config-*"))`
	if out, err := exec.CommandContext(ctx, "/usr/bin/python3", "-c", copyPython, python).CombinedOutput(); err != nil {
		return fmt.Errorf("copy Python: %w: %s", err, out)
	}
	text := "all:\n  hosts:\n    " + h.name + ":\n  vars:\n    ansible_connection: ssh\n    ansible_ssh_executable: " + ssh +
		"\n    ansible_ssh_transfer_method: piped\n    ansible_python_interpreter: /mnt/python/bin/python3\n"
	return os.WriteFile(filepath.Join(l.work, "inventory.yml"), []byte(text), 0o644)
}
