package pods

import "testing"

// The table of docs/pods.md, row by row.
func TestState(t *testing.T) {
	for _, c := range []struct {
		name  string
		facts facts
		want  State
	}{
		{"nothing, held", facts{Held: true}, Preparing},
		{"nothing, free", facts{}, Aborted},
		{"pod.json, held", facts{Manifest: true, Held: true}, Starting},
		{"pod.json, free", facts{Manifest: true}, Prepared},
		{"run.json, held", facts{Manifest: true, Run: true, Held: true}, Running},
		{"run.json, free: the supervisor died", facts{Manifest: true, Run: true}, Exited},
		{"exit.json, held", facts{Manifest: true, Run: true, Exit: true, Held: true}, Exiting},
		{"exit.json, free", facts{Manifest: true, Run: true, Exit: true}, Exited},
		{"pod.json by run, held", facts{Manifest: true, Fleeting: true, Held: true}, Starting},
		{"pod.json by run, free: run was killed", facts{Manifest: true, Fleeting: true}, Aborted},
		{"pod.json by run, run.json, free", facts{Manifest: true, Fleeting: true, Run: true}, Exited},
		{"another boot, running then", facts{Manifest: true, Run: true, Stale: true}, Exited},
		{"another boot, ended then", facts{Manifest: true, Run: true, Exit: true, Stale: true}, Exited},
		{"another boot, held by who sweeps", facts{Manifest: true, Run: true, Stale: true, Held: true}, Exited},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.facts.State(); got != c.want {
				t.Errorf("state %s, want %s", got, c.want)
			}
		})
	}
}

// Every combination of facts has a state, and none of a living supervisor may be swept.
func TestStateIsTotal(t *testing.T) {
	for bits := range 64 {
		f := facts{bits&1 != 0, bits&2 != 0, bits&4 != 0, bits&8 != 0, bits&16 != 0, bits&32 != 0}
		s := f.State()
		if s == "" {
			t.Errorf("%+v has no state", f)
		}
		if f.Held && !f.Stale && s.Over() {
			t.Errorf("%+v is held, and %s", f, s)
		}
		if s.Live() && s.Over() {
			t.Errorf("%s is both live and over", s)
		}
	}
}

// A run that is killed after pod.json leaves nothing that binds: the pod is aborted, and its name is free.
func TestKilledRunIsAborted(t *testing.T) {
	s := In(t.TempDir())
	for _, damage := range []bool{false, true} {
		d, err := s.Draft(NewUUID())
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		lock, err := d.Commit(&Manifest{Name: "web", Run: true}, false)
		if err != nil {
			t.Fatal(err)
		}
		wantState(t, d.Pod, Starting)
		if damage {
			if err := d.Root().WriteFile(manifestFile, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := lock.Release(); err != nil {
			t.Fatal(err)
		}
		wantState(t, d.Pod, Aborted)
		if g, err := s.Glance(d.UUID); (err != nil) != damage || g.State != Aborted {
			t.Errorf("glance: %+v, %v", g, err)
		}
	}
	prepare(t, s, "web")
}
