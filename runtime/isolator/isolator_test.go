package isolator

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantryrun/gantry/image/appc"
	"github.com/gantryrun/gantry/runtime/bundle"
)

func list(t *testing.T, text string) []appc.Isolator {
	t.Helper()
	var l []appc.Isolator
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestQuantities(t *testing.T) {
	for text, want := range map[string]int64{
		`"128974848"`: 128974848, `"125952Ki"`: 128974848, `"123Mi"`: 128974848, `"1G"`: 1e9, `"1k"`: 1000, `"0.5K"`: 500, `1024`: 1024, `null`: 0,
	} {
		if got, err := quantity(raw(text), 1); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", text, got, err, want)
		}
	}
	for text, want := range map[string]int64{`"250m"`: 250, `"0.3"`: 300, `1.5`: 1500, `"2"`: 2000} {
		if got, err := quantity(raw(text), 1000); err != nil || got != want {
			t.Errorf("%s: %d thousandths, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{`"-1"`, `"1/3"`, `"1e3"`, `"G"`, `""`, `"1 G"`, `"1GG"`, `"9E99"`, `"99E"`, `"0x10"`, `true`, `{}`, `"1.1.1"`, `"1_0"`} {
		if n, err := quantity(raw(text), 1); err == nil {
			t.Errorf("%s is %d", text, n)
		}
	}
}

func raw(text string) json.RawMessage {
	if text == "null" {
		return nil
	}
	return json.RawMessage(text)
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		`[{"name":"resource/network-bandwidth","value":{"default":true,"limit":"1G"}}]`:                                                    "resource/network-bandwidth",
		`[{"name":"resource/block-iops","value":{"default":true,"limit":"1000"}}]`:                                                         "resource/block-iops",
		`[{"name":"os/linux/selinux-context","value":{}}]`:                                                                                 "os/linux/selinux-context",
		`[{"name":"resource/memory","value":{"limit":"1"}}]`:                                                                               "resource/memory",
		`[{"name":"resource/memory","value":{"limit":"1G","more":1}}]`:                                                                     "unknown field",
		`[{"name":"resource/memory","value":{"request":"2G","limit":"1G"}}]`:                                                               "requests",
		`[{"name":"resource/cpu","value":{"limit":"1m"}}]`:                                                                                 "resource/cpu",
		`[{"name":"resource/cpu","value":"1"}]`:                                                                                            "resource/cpu",
		`[{"name":"os/linux/cpu-shares","value":1}]`:                                                                                       "cpu-shares",
		`[{"name":"os/linux/oom-score-adj","value":1001}]`:                                                                                 "oom-score-adj",
		`[{"name":"os/linux/no-new-privileges","value":1}]`:                                                                                "no-new-privileges",
		`[{"name":"os/linux/capabilities-retain-set","value":{"set":[]}}]`:                                                                 "empty",
		`[{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_NONE"]}}]`:                                                       "CAP_NONE",
		`[{"name":"os/linux/capabilities-retain-set","value":{"set":["all"]}}]`:                                                            `"all"`,
		`[{"name":"os/linux/seccomp-remove-set","value":{"set":["no_such_call"]}}]`:                                                        "no_such_call",
		`[{"name":"os/linux/seccomp-remove-set","value":{"set":["reboot"],"errno":"ENO"}}]`:                                                "ENO",
		`[{"name":"os/linux/cpu-shares","value":100},{"name":"os/linux/cpu-shares","value":100}]`:                                          "twice",
		`[{"name":"os/linux/seccomp-remove-set","value":{"set":["bpf"]}},{"name":"os/linux/seccomp-retain-set","value":{"set":["read"]}}]`: "one of them",
		`[{"name":"os/unix/sysctl","value":{"kernel.core_pattern":"|/x"}}]`:                                                                "kernel.core_pattern",
	} {
		_, err := Parse(list(t, text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, err := Parse(list(t, `[{"name":"resource/block-bandwidth","value":{}}]`)); !errors.Is(err, ErrUnenforceable) {
		t.Error(err)
	}
}

// An image tightens, and what its user said stays.
func TestTighten(t *testing.T) {
	const everything = `[
 {"name":"resource/memory","value":{"limit":"64M"}}, {"name":"resource/cpu","value":{"request":"100m","limit":"500m"}},
 {"name":"os/linux/cpu-shares","value":512}, {"name":"os/linux/oom-score-adj","value":-5}, {"name":"os/linux/no-new-privileges","value":false},
 {"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_NET_ADMIN","CAP_CHOWN"]}},
 {"name":"os/linux/seccomp-retain-set","value":{"set":["read","mount"]}}, {"name":"example.com/x","value":1}]`
	s, err := Parse(list(t, everything))
	if err != nil {
		t.Fatal(err)
	}
	a := bundle.App{}
	refused := strings.Join(s.Tighten(&a), " ")
	if !strings.Contains(refused, "CAP_NET_ADMIN") || !strings.Contains(refused, "-5") || strings.Contains(refused, "CHOWN") {
		t.Errorf("refused: %s", refused)
	}
	if a.Resources.Memory != 64e6 || a.Resources.CPU != 500 || a.Resources.CPUShares != 512 || a.Resources.OOMScoreAdj != nil || a.NoNewPrivilegesOff {
		t.Errorf("%+v", a.Resources)
	}
	if len(a.Caps.Retain)+len(a.Caps.Add) > 0 || len(a.Caps.Remove) != len(bundle.DefaultCaps())-1 {
		t.Errorf("capabilities %+v", a.Caps)
	}
	if len(a.Seccomp.Retain) > 0 || !a.Seccomp.Kill || !cmp.Equal(a.Seccomp.Within, append(lifeCycle, "read", "mount")) {
		t.Errorf("seccomp %+v", a.Seccomp)
	}
	if !cmp.Equal(s.Unknown, []string{"example.com/x"}) {
		t.Errorf("unknown: %q", s.Unknown)
	}
	said := bundle.App{Resources: bundle.Resources{Memory: 1 << 30}, Caps: bundle.Caps{Add: []string{"CAP_NET_RAW"}}, Seccomp: bundle.SeccompRequest{Unconfined: true}}
	if s.Tighten(&said); said.Resources.Memory != 1<<30 || len(said.Caps.Remove) > 0 || len(said.Seccomp.Within) > 0 {
		t.Errorf("what the user said has changed: %+v", said)
	}
}

// An image gives itself no more of the processor than others have.
func TestTightenShares(t *testing.T) {
	s, err := Parse(list(t, `[{"name":"os/linux/cpu-shares","value":262144}]`))
	if err != nil {
		t.Fatal(err)
	}
	a := bundle.App{}
	if refused := s.Tighten(&a); len(refused) != 1 || !strings.Contains(refused[0], "--cpu-shares") || a.Resources.CPUShares != 0 {
		t.Errorf("refused %q, shares %d", refused, a.Resources.CPUShares)
	}
	said := bundle.App{Resources: bundle.Resources{CPUShares: 2048}}
	if refused := s.Tighten(&said); len(refused) != 0 || said.Resources.CPUShares != 2048 {
		t.Errorf("refused %q, shares %d", refused, said.Resources.CPUShares)
	}
}

// A pod manifest grants.
func TestGrant(t *testing.T) {
	s, err := Parse(list(t, `[{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_NET_ADMIN"]}},
 {"name":"os/linux/oom-score-adj","value":-5}, {"name":"os/linux/no-new-privileges","value":false},
 {"name":"os/linux/seccomp-retain-set","value":{"set":["@appc.io/all"]}}, {"name":"os/unix/sysctl","value":{"net.ipv4.tcp_mtu_probing":"1"}}]`))
	if err != nil {
		t.Fatal(err)
	}
	a := bundle.App{}
	s.Grant(&a)
	if !cmp.Equal(a.Caps.Retain, []string{"CAP_NET_ADMIN"}) || *a.Resources.OOMScoreAdj != -5 || !a.NoNewPrivilegesOff || !a.Seccomp.Unconfined || len(a.Sysctls) != 1 {
		t.Errorf("%+v", a)
	}
}
