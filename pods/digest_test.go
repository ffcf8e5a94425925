package pods

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestDigest: a list shows the same of a pod that is over whether exit.json has the copy, or has no room for it.
func TestDigest(t *testing.T) {
	s := In(t.TempDir())
	for name, room := range map[string]bool{"short": true, "long": false} {
		d, err := s.Draft(NewUUID())
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		m := &Manifest{Name: name, Created: time.Unix(1, 0).UTC(), Net: NetCNI, Labels: map[string]string{"team": "a"}, Ports: []Port{{Protocol: "tcp", HostPort: 80, PodPort: 8080}}}
		if !room {
			m.Labels["team"] = strings.Repeat("a", maxExit)
		}
		apps := []*App{
			{Name: "web", Order: 1, Image: Image{Name: "docker.io/library/nginx:1", ID: "sha256:2"}},
			{Name: "db", Order: 0, Image: Image{Name: "docker.io/library/mariadb:11", ID: "sha256:1"}},
		}
		for _, a := range apps {
			if err := d.AddApp(a); err != nil {
				t.Fatal(err)
			}
		}
		lock, err := d.Commit(m, false)
		if err != nil {
			t.Fatal(err)
		}
		run := &Run{BootID: BootID(), Started: time.Unix(2, 0).UTC()}
		net := &Net{Interfaces: []Interface{{Network: "default", IfName: "eth0", IPs: []string{"172.16.28.2/24"}}}}
		if err := d.WriteRun(run); err != nil {
			t.Fatal(err)
		}
		if err := d.WriteNet(net); err != nil {
			t.Fatal(err)
		}
		want := NewDigest(m, run.Started, apps, net)
		check := func(state State) {
			t.Helper()
			g, err := s.Glance(d.UUID)
			if err != nil || g.State != state {
				t.Fatalf("%s: %+v, %v", state, g, err)
			}
			if diff := cmp.Diff(want, &g.Digest); diff != "" {
				t.Errorf("%s: %s", state, diff)
			}
		}
		check(Running)
		if err := d.WriteExit(&Exit{Code: 1, Reason: "why", Pod: want}); err != nil {
			t.Fatal(err)
		}
		check(Exiting)
		if err := lock.Release(); err != nil {
			t.Fatal(err)
		}
		check(Exited)
		e, err := d.Exit()
		if err != nil || e.Reason != "why" || (e.Pod != nil) != room {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}
