package conf

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseNet(t *testing.T) {
	named := func(names ...string) Selection {
		var s Selection
		for _, n := range names {
			s.Networks = append(s.Networks, Request{Name: n})
		}
		return s
	}
	tests := map[string]struct {
		values []string
		want   Selection
		err    string
	}{
		"nothing":          {nil, named("default"), ""},
		"empty":            {[]string{""}, named("default"), ""},
		"one":              {[]string{"lan"}, named("lan"), ""},
		"several":          {[]string{"b,a"}, named("b", "a"), ""},
		"repeated":         {[]string{"b", "a,c"}, named("b", "a", "c"), ""},
		"none":             {[]string{"none"}, Selection{Mode: None}, ""},
		"host":             {[]string{"host"}, Selection{Mode: HostNet}, ""},
		"none and another": {[]string{"none,lan"}, Selection{}, "excludes"},
		"host and another": {[]string{"lan", "host"}, Selection{}, "excludes"},
		"host with args":   {[]string{"host:IP=1.2.3.4"}, Selection{}, "no arguments"},
		"twice":            {[]string{"a", "a"}, Selection{}, "twice"},
		"args": {[]string{"lan:IP=10.1.2.3;K=V=W,b"}, Selection{Networks: []Request{
			{Name: "lan", Args: [][2]string{{"IP", "10.1.2.3"}, {"K", "V=W"}}}, {Name: "b"},
		}}, ""},
		"IPv6": {[]string{"lan:IP=fd00::1"}, Selection{Networks: []Request{
			{Name: "lan", Args: [][2]string{{"IP", "fd00::1"}}},
		}}, ""},
		"with a length": {[]string{"lan:IP=10.1.2.3/24"}, Selection{Networks: []Request{
			{Name: "lan", Args: [][2]string{{"IP", "10.1.2.3/24"}}},
		}}, ""},
		"too long":    {[]string{strings.Repeat("x", 201)}, Selection{}, "not more than 200"},
		"no name":     {[]string{":IP=1.2.3.4"}, Selection{}, "no network name"},
		"no address":  {[]string{"lan:IP=10.1.2"}, Selection{}, `"10.1.2" is not an IP`},
		"no value":    {[]string{"lan:K"}, Selection{}, "not KEY=VALUE"},
		"empty items": {[]string{"a,,b,"}, named("a", "b"), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseNet(test.values)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParsePort(t *testing.T) {
	ip := netip.MustParseAddr
	tests := map[string]struct {
		want PortMapping
		err  string
	}{
		"8080:80":              {PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}, ""},
		"8080:80/udp":          {PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "udp"}, ""},
		"8080:80/SCTP":         {PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "sctp"}, ""},
		"127.0.0.1:8080:80":    {PortMapping{HostIP: ip("127.0.0.1"), HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}, ""},
		"[::1]:8080:80/tcp":    {PortMapping{HostIP: ip("::1"), HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}, ""},
		"[::]:1:65535":         {PortMapping{HostIP: ip("::"), HostPort: 1, ContainerPort: 65535, Protocol: "tcp"}, ""},
		"http:8080":            {PortMapping{Name: "http", HostPort: 8080}, ""},
		"http:127.0.0.1:8080":  {PortMapping{Name: "http", HostIP: ip("127.0.0.1"), HostPort: 8080}, ""},
		"http:[fd00::1]:8080":  {PortMapping{Name: "http", HostIP: ip("fd00::1"), HostPort: 8080}, ""},
		"8080-tcp:80":          {PortMapping{Name: "8080-tcp", HostPort: 80}, ""},
		"":                     {err: "no port name"},
		"80":                   {err: "want NAME"},
		"http":                 {err: "want NAME"},
		"http:":                {err: "not a port number"},
		":80":                  {err: "no port name"},
		"8080:":                {err: "not a port number"},
		"0:80":                 {err: `"0" is not a port number`},
		"8080:65536":           {err: "not a port number"},
		"+80:80":               {err: "nor a port's name"},
		"8080:80/":             {err: `protocol ""`},
		"8080:80/icmp":         {err: `protocol "icmp"`},
		"1.2.3:8080:80":        {err: "want NAME"},
		"fd00::1:8080:80":      {err: "want"},
		"[127.0.0.1]:8080:80":  {err: "brackets"},
		"[fd00::1:8080":        {err: "brackets"},
		"[fe80::1%eth0]:80:80": {err: "zone"},
		"x[::1]:80:80":         {err: `unexpected "x"`},
		"a:b:80":               {err: "want NAME"},
		"http:8080/udp":        {err: "not a port number"},
		"1.2.3.4:5.6.7.8:80":   {err: "not a port number"},
	}
	for in, test := range tests {
		t.Run(in, func(t *testing.T) {
			got, err := ParsePort(in)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("%+v, error %v, want %q", got, err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func FuzzParsePort(f *testing.F) {
	for _, s := range []string{"8080:80", "[::1]:1:2/udp", "http:1.2.3.4:5", "a[:]:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePort(s)
		if err != nil {
			return
		}
		again, err := ParsePort(p.String())
		if err != nil || again != p {
			t.Errorf("%q is %+v, which prints as %q: %+v, %v", s, p, p.String(), again, err)
		}
	})
}

func TestCheckPorts(t *testing.T) {
	tests := map[string]struct {
		ports []string
		ok    bool
	}{
		"different ports":                {[]string{"80:80", "81:80"}, true},
		"different protocols":            {[]string{"53:53/tcp", "53:53/udp"}, true},
		"different addresses":            {[]string{"127.0.0.1:80:80", "127.0.0.2:80:81"}, true},
		"different families":             {[]string{"0.0.0.0:80:80", "[::]:80:81"}, true},
		"same":                           {[]string{"80:80", "80:81"}, false},
		"all and one":                    {[]string{"80:80", "127.0.0.1:80:81"}, false},
		"all of the family, and one":     {[]string{"0.0.0.0:80:80", "127.0.0.1:80:81"}, false},
		"all of the other family, one":   {[]string{"[::]:80:80", "127.0.0.1:80:81"}, true},
		"everything and all of a family": {[]string{"80:80", "[::]:80:81"}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var maps []PortMapping
			for _, s := range test.ports {
				p, err := ParsePort(s)
				if err != nil {
					t.Fatal(err)
				}
				maps = append(maps, p)
			}
			if err := checkPorts(maps); (err == nil) != test.ok {
				t.Errorf("error %v, want ok %t", err, test.ok)
			}
		})
	}
}

func TestParseWishes(t *testing.T) {
	tests := map[string]struct {
		args [][2]string
		want Wishes
		err  string
	}{
		"nothing":      {nil, Wishes{}, ""},
		"others":       {[][2]string{{"K", "V"}}, Wishes{}, ""},
		"addresses":    {[][2]string{{"IP", "10.0.0.2"}, {"IP", "fd00::2/64"}}, Wishes{IPs: []string{"10.0.0.2", "fd00::2/64"}}, ""},
		"MAC":          {[][2]string{{"MAC", "02:00:00:00:00:01"}}, Wishes{MAC: "02:00:00:00:00:01"}, ""},
		"aliases":      {[][2]string{{"ALIAS", "web"}, {"ALIAS", "db.example"}}, Wishes{Aliases: []string{"web", "db.example"}}, ""},
		"rates":        {[][2]string{{"INGRESS", "10M"}, {"EGRESS", "800k"}}, Wishes{Bandwidth: &Bandwidth{10e6, 1e6, 800e3, 262144}}, ""},
		"a great rate": {[][2]string{{"EGRESS", "40G"}}, Wishes{Bandwidth: &Bandwidth{EgressRate: 40e9, EgressBurst: 2147483647}}, ""},
		"no address":   {[][2]string{{"IP", "10.0"}}, Wishes{}, `"10.0" is not an IP address`},
		"no MAC":       {[][2]string{{"MAC", "02:00"}}, Wishes{}, "is not the MAC address"},
		"multicast":    {[][2]string{{"MAC", "01:00:5e:00:00:01"}}, Wishes{}, "is not the MAC address"},
		"no rate":      {[][2]string{{"INGRESS", "fast"}}, Wishes{}, `"fast" is not a rate`},
		"two units":    {[][2]string{{"INGRESS", "1kM"}}, Wishes{}, "is not a rate"},
		"next to none": {[][2]string{{"INGRESS", "10"}}, Wishes{}, "is not a rate"},
		"no name":      {[][2]string{{"ALIAS", "a b"}}, Wishes{}, "is not a host name"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseWishes(test.args)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want %q", err, test.err)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}
