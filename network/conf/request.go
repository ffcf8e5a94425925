package conf

import (
	"fmt"
	"strings"
)

// Mode says what kind of network namespace a pod has.
type Mode string

const (
	Contained Mode = ""     // its own namespace, attached to networks
	None      Mode = "none" // its own namespace, loopback only
	HostNet   Mode = "host" // the host's
)

// All is the name that asks for every configured network, as rkt's --net=all did.
const All = "all"

// Request is one network that the user asked for.
type Request struct {
	Name string      `json:"name"`
	Args [][2]string `json:"args,omitempty"` // CNI_ARGS, in the order given: {"IP", "10.1.2.3"}
}

// Selection is what all --net flags of a pod come to. The zero value has no networks, which no parsed selection of
// mode Contained has.
type Selection struct {
	Mode     Mode
	Networks []Request
}

// ParseNet reads the values of --net, one for each time that the flag was given:
//
//	--net=NAME[:K=V[;K=V ...]][,NAME ...]   --net=none   --net=host   --net=all
//
// No value at all, or an empty one, means the network "default". A network can be joined once.
func ParseNet(values []string) (Selection, error) {
	var items []string
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			if item = strings.TrimSpace(item); item != "" {
				items = append(items, item)
			}
		}
	}
	if len(items) == 0 {
		items = []string{"default"}
	}
	var sel Selection
	seen := map[string]bool{}
	for _, item := range items {
		req, err := parseRequest(item)
		if err != nil {
			return Selection{}, err
		}
		if mode := Mode(req.Name); mode == None || mode == HostNet {
			if len(items) > 1 {
				return Selection{}, fmt.Errorf("%s excludes every other network", mode)
			}
			if len(req.Args) > 0 {
				return Selection{}, fmt.Errorf("%s takes no arguments", mode)
			}
			return Selection{Mode: mode}, nil
		}
		if seen[req.Name] {
			return Selection{}, fmt.Errorf("network %q is given twice", req.Name)
		}
		seen[req.Name] = true
		sel.Networks = append(sel.Networks, req)
	}
	return sel, nil
}

// longestName leaves place for a pod's UUID and an interface beside the network's name, as files of results are called.
const longestName = 200

func parseRequest(item string) (Request, error) {
	name, args, _ := strings.Cut(item, ":")
	if name == "" {
		return Request{}, fmt.Errorf("%q: no network name", item)
	}
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != "" || strings.HasPrefix(name, "-") || len(name) > longestName {
		return Request{}, fmt.Errorf("%q: want a network's name, of a-z A-Z 0-9 _ . -, and not more than %d", name, longestName)
	}
	req := Request{Name: name}
	for kv := range strings.SplitSeq(args, ";") {
		if kv == "" {
			continue
		}
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return Request{}, fmt.Errorf("argument %q of network %q is not KEY=VALUE", kv, name)
		}
		req.Args = append(req.Args, [2]string{k, v})
	}
	if _, err := ParseWishes(req.Args); err != nil {
		return Request{}, fmt.Errorf("network %q: %w", name, err)
	}
	return req, nil
}
