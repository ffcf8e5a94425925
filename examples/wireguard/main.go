// Command wireguard is a chained CNI plugin: it gives a pod a WireGuard interface, whose encrypted packets leave from the host's own
// network.
//
// It knows how such an interface is made, of the kernel where that has WireGuard, else of a process of this program that speaks it
// (package golang.zx2c4.com/wireguard). It never keeps a key: it reads the file that the configuration names.
// Invariant: that process lives no longer than the supervisor of its pod, whoever is killed.
//
//	supervisor ── ADD ──> wireguard ── fork ──> wireguard serve   child of the supervisor; watches it by a pidfd
//	                          └── wg set …; then the interface moves into the pod
package main

import (
	"fmt"
	"os"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		if err := serve(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Del: del, Check: check, Status: status}, version.All, "wireguard: encrypted interface for pods")
}

// add makes the interface; what it makes is named on disk before.
func add(args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	if c.PrevResult == nil {
		return fmt.Errorf("this plugin comes after another one in the chain")
	}
	result, err := types100.NewResultFromResult(c.PrevResult)
	if err != nil {
		return err
	}
	r := recordOf(args)
	lock, err := r.create()
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := makeDevice(r, lock); err != nil {
		return err
	}
	if err := c.configure(r.hostName); err != nil {
		return err
	}
	if err := c.moveInto(args.Netns, r.hostName); err != nil {
		return err
	}
	c.extend(result, args.Netns)
	return types.PrintResult(result, c.CNIVersion)
}

// del is idempotent. Without the namespace there is nothing but the process to be ended, and it may have ended by itself.
func del(args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	r := recordOf(args)
	if args.Netns != "" {
		if err := removeFrom(args.Netns, c.Interface); err != nil {
			return err
		}
	}
	if err := removeHere(r.hostName); err != nil {
		return err
	}
	return r.end()
}

func check(args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	return checkIn(args.Netns, c.Interface)
}

// status says whether an ADD can succeed at all.
func status(args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	_, err = os.Stat(c.PrivateKeyFile)
	return err
}
