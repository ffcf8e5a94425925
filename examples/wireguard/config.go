package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
)

// conf is the plugin's part of a conflist.
type conf struct {
	types.NetConf
	Interface      string         `json:"interface"` // of the pod; default wg0
	PrivateKeyFile string         `json:"privateKeyFile"`
	ListenPort     uint16         `json:"listenPort"` // of the host, UDP
	Addresses      []netip.Prefix `json:"addresses"`  // of the interface
	MTU            int            `json:"mtu"`        // default 1420
	Peers          []peer         `json:"peers"`
}

type peer struct {
	PublicKey           string         `json:"publicKey"`
	Endpoint            string         `json:"endpoint"` // ADDRESS:PORT; empty: the peer calls first
	AllowedIPs          []netip.Prefix `json:"allowedIPs"`
	PersistentKeepalive int            `json:"persistentKeepalive"` // seconds
}

func parse(stdin []byte) (*conf, error) {
	c := &conf{Interface: "wg0", MTU: 1420}
	if err := json.Unmarshal(stdin, c); err != nil {
		return nil, fmt.Errorf("parse configuration: %w", err)
	}
	if err := version.ParsePrevResult(&c.NetConf); err != nil {
		return nil, fmt.Errorf("parse prevResult: %w", err)
	}
	if len(c.Interface) > 15 || strings.ContainsAny(c.Interface, "/ ") || c.Interface == "" {
		return nil, fmt.Errorf("interface %q is not the name of an interface", c.Interface)
	}
	if c.PrivateKeyFile == "" || len(c.Addresses) == 0 || len(c.Peers) == 0 {
		return nil, errors.New("privateKeyFile, addresses and peers are needed")
	}
	for _, p := range c.Peers {
		if key, err := base64.StdEncoding.DecodeString(p.PublicKey); err != nil || len(key) != 32 {
			return nil, fmt.Errorf("publicKey %q is not a key", p.PublicKey)
		}
		if p.Endpoint != "" {
			if _, err := netip.ParseAddrPort(p.Endpoint); err != nil {
				return nil, fmt.Errorf("endpoint %q: %w", p.Endpoint, err)
			}
		}
		for _, ip := range p.AllowedIPs {
			if ip.Bits() == 0 {
				return nil, fmt.Errorf("allowedIPs %s: the default route is the pod's other interface's", ip)
			}
		}
	}
	return c, nil
}

// configure tells the interface its key and its peers. The tool speaks both to the kernel and to our process.
func (c *conf) configure(name string) error {
	info, err := os.Stat(c.PrivateKeyFile)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s can be read by others than its owner: chmod 600 it", c.PrivateKeyFile)
	}
	args := []string{"set", name, "private-key", c.PrivateKeyFile}
	if c.ListenPort != 0 {
		args = append(args, "listen-port", fmt.Sprint(c.ListenPort))
	}
	for _, p := range c.Peers {
		var allowed []string
		for _, ip := range p.AllowedIPs {
			allowed = append(allowed, ip.String())
		}
		args = append(args, "peer", p.PublicKey, "allowed-ips", strings.Join(allowed, ","))
		if p.Endpoint != "" {
			args = append(args, "endpoint", p.Endpoint)
		}
		if p.PersistentKeepalive > 0 {
			args = append(args, "persistent-keepalive", fmt.Sprint(p.PersistentKeepalive))
		}
	}
	if out, err := exec.Command("wg", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("wg set (package wireguard-tools): %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// extend adds the interface to the result of the plugins before.
func (c *conf) extend(result *types100.Result, netns string) {
	result.Interfaces = append(result.Interfaces, &types100.Interface{Name: c.Interface, Sandbox: netns})
	for _, a := range c.Addresses {
		result.IPs = append(result.IPs, &types100.IPConfig{
			Interface: types100.Int(len(result.Interfaces) - 1),
			Address:   net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())},
		})
	}
}
