package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/gantryrun/gantry/network/conf"
)

// call is one run of a plugin in process: what an executed one finds in its environment and on stdin.
type call struct {
	exec        *pluginExec
	command     string
	containerID string
	netns       string
	ifName      string
	args        string // CNI_ARGS
	stdin       []byte
	environ     []string
}

// pluginConf is what is common to the configurations of the built-in plugins.
type pluginConf struct {
	types.PluginConf
	RuntimeConfig struct {
		IPs          []string      `json:"ips"`
		MAC          string        `json:"mac"`
		PortMappings []portMapping `json:"portMappings"`
	} `json:"runtimeConfig"`
}

// runBuiltin is ExecPlugin for the plugins that gantry implements. Its answers are those that the program would print.
func (x *pluginExec) runBuiltin(ctx context.Context, name string, stdin []byte, environ []string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := newCall(x, stdin, environ)
	result, err := c.run(ctx, name)
	if err != nil || result == nil {
		return nil, err
	}
	return c.print(result)
}

// run runs the plugin. Only ADD has a result.
func (c *call) run(ctx context.Context, plugin string) (*types100.Result, error) {
	switch c.command {
	case "ADD":
		return c.add(ctx, plugin)
	case "DEL":
		return nil, c.del(ctx, plugin)
	case "CHECK":
		return nil, c.check(ctx, plugin)
	case "REPAIR": // not CNI's: puts back what CHECK misses
		return nil, c.repair(ctx, plugin)
	case "STATUS":
		return nil, c.status(ctx, plugin)
	case "GC": // whoever was attached is detached by DEL, which leaves nothing
		return nil, nil
	}
	return nil, fmt.Errorf("command %s is not supported", c.command)
}

func (c *call) add(ctx context.Context, plugin string) (*types100.Result, error) {
	switch plugin {
	case conf.TypePTP:
		return c.ptpAdd(ctx)
	case conf.TypePortmap:
		return c.portmapAdd()
	}
	return c.leasesAdd()
}

func (c *call) del(ctx context.Context, plugin string) (err error) {
	switch plugin {
	case conf.TypePTP:
		err = c.ptpDel(ctx)
	case conf.TypePortmap:
		err = c.portmapDel()
	default:
		err = c.leasesDel(nil)
	}
	if errors.Is(err, errUnreadable) {
		return nil // ADD could not read it either, and has made nothing: or it would keep the pod for ever
	}
	return err
}

// errUnreadable says that a plugin's part of the conflist is not what the plugin takes.
var errUnreadable = errors.New("read configuration")

func readConf(data []byte, into any) error {
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	return nil
}

func newCall(x *pluginExec, stdin []byte, environ []string) *call {
	c := &call{exec: x, stdin: stdin, environ: environ}
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		switch k {
		case "CNI_COMMAND":
			c.command = v
		case "CNI_CONTAINERID":
			c.containerID = v
		case "CNI_NETNS":
			c.netns = v
		case "CNI_IFNAME":
			c.ifName = v
		case "CNI_ARGS":
			c.args = v
		}
	}
	return c
}

// print encodes a result in the version that the configuration has.
func (c *call) print(r *types100.Result) ([]byte, error) {
	var pc types.PluginConf
	if err := json.Unmarshal(c.stdin, &pc); err != nil {
		return nil, err
	}
	versioned, err := r.GetAsVersion(pc.CNIVersion)
	if err != nil {
		return nil, err
	}
	return json.Marshal(versioned)
}

// prevResult gives what the plugins before this one in the chain have made.
func (c *call) prevResult(pc *types.PluginConf) (*types100.Result, error) {
	if len(pc.RawPrevResult) == 0 {
		return nil, errors.New("no prevResult: the plugin must follow one that makes an interface")
	}
	data, err := json.Marshal(pc.RawPrevResult)
	if err != nil {
		return nil, err
	}
	r, err := create.CreateFromBytes(data)
	if err != nil {
		return nil, fmt.Errorf("read prevResult: %w", err)
	}
	return types100.GetResult(r)
}

// wantedIPs are the addresses that the user asks for: IP= of CNI_ARGS and the capability ips, with or without a length.
func (c *call) wantedIPs(pc *pluginConf) ([]netip.Addr, error) {
	texts := pc.RuntimeConfig.IPs
	for kv := range strings.SplitSeq(c.args, ";") {
		if v, ok := strings.CutPrefix(kv, "IP="); ok {
			texts = append(texts, v)
		}
	}
	var want []netip.Addr
	for _, t := range texts {
		bare, _, _ := strings.Cut(t, "/")
		a, err := netip.ParseAddr(bare)
		if err != nil {
			return nil, fmt.Errorf("%q is not an IP address", t)
		}
		want = append(want, a.Unmap())
	}
	return want, nil
}
