// Command sidecar is a chained CNI plugin: it sends the TCP of a pod through a proxy that is an app of the same pod, which nobody in the
// pod has to be told.
//
// It knows the rules for that, a table of nftables in the pod's network namespace. It never changes the host.
// Invariant: traffic of the proxy's user, and what stays on the pod's loopback, passes as it is: the proxy cannot reach itself.
//
//	from outside ─▶ prerouting ─▶ proxy's inbound port ─▶ app
//	app ─▶ output ─▶ proxy's outbound port ─▶ output (proxy's user: passes) ─▶ outside
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
)

// conf is the plugin's part of a conflist.
type conf struct {
	types.NetConf
	User         uint32   `json:"user"`         // of the proxy: a number
	Inbound      uint16   `json:"inbound"`      // port of the proxy for what comes in; 0: it is not redirected
	Outbound     uint16   `json:"outbound"`     // the same for what goes out
	SkipInbound  []uint16 `json:"skipInbound"`  // ports that are not redirected
	SkipOutbound []uint16 `json:"skipOutbound"` // by the port of the destination
}

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Del: del, Check: check}, version.All, "sidecar: sends a pod's TCP through its proxy")
}

func parse(stdin []byte) (*conf, error) {
	c := &conf{}
	if err := json.Unmarshal(stdin, c); err != nil {
		return nil, fmt.Errorf("parse configuration: %w", err)
	}
	if err := version.ParsePrevResult(&c.NetConf); err != nil {
		return nil, fmt.Errorf("parse prevResult: %w", err)
	}
	if c.User == 0 {
		return nil, errors.New("user is needed, and cannot be root: it tells the proxy from the apps")
	}
	return c, nil
}

func add(args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	if c.PrevResult == nil {
		return errors.New("this plugin comes after another one in the chain")
	}
	result, err := types100.NewResultFromResult(c.PrevResult)
	if err != nil {
		return err
	}
	if err := nft(args.Netns, c.rules(), "-f", "-"); err != nil {
		return err
	}
	return types.PrintResult(result, c.CNIVersion)
}

// del has nothing to do: the table goes with the pod's network namespace.
func del(*skel.CmdArgs) error { return nil }

func check(args *skel.CmdArgs) error { return nft(args.Netns, "", "list", "table", "inet", "sidecar") }

// rules are one transaction that can be repeated: the table is made, emptied, filled.
func (c *conf) rules() string {
	var b strings.Builder
	b.WriteString("table inet sidecar\ndelete table inet sidecar\ntable inet sidecar {\n")
	if c.Inbound != 0 {
		b.WriteString("chain inbound {\ntype nat hook prerouting priority dstnat\niifname lo accept\n")
		redirect(&b, c.SkipInbound, c.Inbound)
	}
	if c.Outbound != 0 {
		fmt.Fprintf(&b, "chain outbound {\ntype nat hook output priority -100\nmeta skuid %d accept\noifname lo accept\n", c.User)
		redirect(&b, c.SkipOutbound, c.Outbound)
	}
	b.WriteString("}\n")
	return b.String()
}

func redirect(b *strings.Builder, skip []uint16, port uint16) {
	for _, p := range skip {
		fmt.Fprintf(b, "tcp dport %d accept\n", p)
	}
	fmt.Fprintf(b, "meta l4proto tcp redirect to :%s\n}\n", strconv.Itoa(int(port)))
}

// nft runs the program of this name in the pod's network namespace.
func nft(netns, stdin string, args ...string) error {
	cmd := exec.Command("nsenter", append([]string{"--net=" + netns, "nft"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
