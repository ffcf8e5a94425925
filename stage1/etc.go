package stage1

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gantryrun/gantry/pods"
)

// etcFiles says which of the files that tell an app who and where it is are bound into it, target to source, and which of them yield to a
// mount of the app's own. They are there from then on; fillEtc writes what is in them. Precedence as rkt documented it: what the user asked
// for, then what the networks returned, then a volume, then what the image brings, then a fallback. An image's empty file
// counts as none: image builders leave such behind.
func etcFiles(m *pods.Manifest, dns pods.DNS, runDir, rootfs string) (binds map[string]string, yield []string, err error) {
	image, err := os.OpenRoot(rootfs) // the image's links must not lead out
	if err != nil {
		return nil, nil, err
	}
	defer image.Close()
	binds = map[string]string{}
	bind := func(target string) { binds[target] = filepath.Join(runDir, filepath.Base(target)) }
	switch {
	case len(m.Hosts) > 0 || m.HostsFile != "":
		bind("/etc/hosts")
	case !hasContent(image, "etc/hosts"):
		bind("/etc/hosts")
		yield = append(yield, "/etc/hosts")
	}
	switch _, from := resolvFile(m, dns, hasContent(image, "etc/resolv.conf")); from {
	case resolvAsked:
		bind("/etc/resolv.conf")
	case resolvFallback:
		bind("/etc/resolv.conf")
		yield = append(yield, "/etc/resolv.conf")
	}
	if m.Stage1 != pods.Stage1Chroot {
		bind("/etc/hostname")
		yield = append(yield, "/etc/hostname")
	}
	linkMtab(image, m.Users == pods.UsersPrivate)
	for _, source := range binds {
		if err := makeOnce(source); err != nil {
			return nil, nil, err
		}
	}
	return binds, yield, nil
}

// makeOnce makes a file that is the same for all apps of the pod.
func makeOnce(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o644), f.Close()) // umask
}

// fillEtc writes the files that are bound into an app. One that has its content may be bound into apps that run: an app that is added must not
// change it under them.
func fillEtc(binds map[string]string, m *pods.Manifest, net *pods.Net, dns pods.DNS) error {
	for target, source := range binds {
		var content string
		switch target {
		case "/etc/hosts":
			content = hostsFile(m, net)
		case "/etc/resolv.conf":
			content, _ = resolvFile(m, dns, false) // ours, whatever the image has
		case "/etc/hostname":
			content = m.Hostname + "\n"
		default:
			continue
		}
		if err := fillOnce(source, content); err != nil {
			return err
		}
	}
	return nil
}

func fillOnce(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if info, err := f.Stat(); err != nil || info.Size() > 0 {
		return errors.Join(err, f.Close())
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Close())
}

// linkMtab gives the app the /etc/mtab that programs look for and hardly any image has (Java's file stores; rkt, Docker and podman make it). What
// cannot take it, goes without.
func linkMtab(image *os.Root, mapped bool) {
	if err := image.Symlink("../proc/self/mounts", "etc/mtab"); err != nil || !mapped {
		return
	}
	if info, err := image.Stat("."); err == nil {
		if root, ok := info.Sys().(*syscall.Stat_t); ok {
			_ = image.Lchown("etc/mtab", int(root.Uid), int(root.Gid)) // the pod's root
		}
	}
}

func hasContent(image *os.Root, name string) bool {
	info, err := image.Stat(name)
	return err == nil && info.Mode().IsRegular() && info.Size() > 0
}

func hostsFile(m *pods.Manifest, net *pods.Net) string {
	var b strings.Builder
	if m.HostsFile == pods.HostsFileHost {
		host, err := os.ReadFile("/etc/hosts")
		if err != nil {
			return "" // a host without: rkt's was empty then too
		}
		return string(host)
	}
	if m.Net == pods.NetHost {
		if host, err := os.ReadFile("/etc/hosts"); err == nil {
			b.Write(host)
		}
	} else {
		b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	}
	names := m.Hostname
	if m.Name != "" && m.Name != m.Hostname {
		names += " " + m.Name
	}
	own := "127.0.1.1" // as Debian does for a host without an address
	for _, ip := range addresses(net) {
		own = ""
		fmt.Fprintf(&b, "%s\t%s\n", ip, names)
	}
	if own != "" && m.Net != pods.NetHost {
		fmt.Fprintf(&b, "%s\t%s\n", own, names)
	}
	for _, e := range m.Hosts {
		fmt.Fprintf(&b, "%s\t%s\n", e.IP, strings.Join(e.Names, " "))
	}
	return b.String()
}

// addresses are the pod's own, without prefix lengths.
func addresses(net *pods.Net) []netip.Addr {
	var ips []netip.Addr
	if net == nil {
		return nil
	}
	for _, i := range net.Interfaces {
		for _, cidr := range i.IPs {
			if p, err := netip.ParsePrefix(cidr); err == nil {
				ips = append(ips, p.Addr())
			}
		}
	}
	return ips
}

// Where the content of resolv.conf is from.
const (
	resolvImage    = iota // the app keeps what it has
	resolvAsked           // the user or a network said it
	resolvFallback        // nobody did
)

// resolvFile is the content of resolv.conf, and where it is from.
func resolvFile(m *pods.Manifest, fromNet pods.DNS, imageHas bool) (content string, from int) {
	asked := m.DNS
	set := len(asked.Servers)+len(asked.Search)+len(asked.Options) > 0 || asked.Domain != ""
	switch {
	case asked.Mode == "none":
		return "", resolvImage
	case asked.Mode == "host":
		return hostResolv(), resolvAsked
	case set:
		return formatResolv(asked), resolvAsked
	case len(fromNet.Servers) > 0:
		return formatResolv(fromNet), resolvAsked
	case imageHas:
		return "", resolvImage
	}
	return hostResolv(), resolvFallback
}

func formatResolv(d pods.DNS) string {
	var b strings.Builder
	if d.Domain != "" {
		fmt.Fprintf(&b, "domain %s\n", d.Domain)
	}
	if len(d.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(d.Search, " "))
	}
	for _, s := range d.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(d.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(d.Options, " "))
	}
	return b.String()
}

// hostResolv is the host's resolv.conf, or the one behind it where the host asks a stub on its own loopback, which a
// pod cannot reach.
func hostResolv() string {
	data, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return ""
	}
	if strings.Contains(string(data), "nameserver 127.0.0.53") {
		if real, err := fs.ReadFile(os.DirFS("/run/systemd/resolve"), "resolv.conf"); err == nil {
			data = real
		}
	}
	return string(data)
}
