package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// minbase makes Debian's minbase tree and its layer, once. apt's package lists stay in the tree, so that the
// package layers need not fetch them again, and are left out of the layer.
func (b builder) minbase(ctx context.Context) (string, error) {
	tar, tree := b.layer("minbase"), filepath.Join(b.dir, "tree", "minbase")
	if exists(tar) && exists(tree) {
		return tar, nil
	}
	if err := errors.Join(os.RemoveAll(tree), os.RemoveAll(tree+".new")); err != nil {
		return "", err
	}
	args := []string{"--variant=minbase", "--skip=cleanup/apt/lists", "--quiet"}
	for _, opt := range []string{
		"force-unsafe-io", "path-exclude=/usr/share/doc/*", "path-exclude=/usr/share/man/*",
		"path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/info/*",
	} {
		args = append(args, "--dpkgopt="+opt)
	}
	if err := command(ctx, "mmdebstrap", append(args, "bookworm", tree+".new")...); err != nil {
		return "", err
	}
	if err := os.Rename(tree+".new", tree); err != nil {
		return "", err
	}
	return tar, writeNew(tar, tree)
}

// install is run in a mount namespace of its own: an overlay on minbase, packages installed in it by chroot,
// with no service started. What changed is left in the upper directory.
const install = `
base=$1 work=$2; shift 2
mount --make-rprivate /
mkdir -p "$work/upper" "$work/work" "$work/root"
mount -t overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/work" overlay "$work/root"
cd "$work/root"
mount -t proc proc proc
mount --rbind /dev dev
printf '#!/bin/sh\nexit 101\n' >usr/sbin/policy-rc.d
chmod 755 usr/sbin/policy-rc.d
cp /etc/resolv.conf etc/resolv.conf
mkdir -p usr/share/man/man1 usr/share/man/man7 # update-alternatives links into them even if excluded
chroot . apt-get install -y -qq --no-install-recommends "$@"
chroot . apt-get clean
rm -f usr/sbin/policy-rc.d
`

// packages makes the layer of some packages installed on minbase, once.
func (b builder) packages(ctx context.Context, set []string) (string, error) {
	name := "packages-" + strings.Join(set, "-")
	tar, work := b.layer(name), filepath.Join(b.dir, "tree", name)
	if exists(tar) {
		return tar, nil
	}
	if err := os.RemoveAll(work); err != nil {
		return "", err
	}
	args := append([]string{"--mount", "sh", "-euc", install, "install", filepath.Join(b.dir, "tree", "minbase"), work}, set...)
	if err := command(ctx, "unshare", args...); err != nil {
		return "", err
	}
	if err := writeNew(tar, filepath.Join(work, "upper")); err != nil {
		return "", err
	}
	return tar, os.RemoveAll(work)
}

// writeNew writes a tree's tar under its name only when it is whole.
func writeNew(tar, tree string) error {
	if err := writeTree(tar+".new", tree); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	return os.Rename(tar+".new", tar)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
