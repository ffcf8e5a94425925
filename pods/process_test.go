package pods

import (
	"os/exec"
	"testing"

	"github.com/gantryrun/gantry/tests/await"
)

func TestParseStart(t *testing.T) {
	got, err := parseStart("42 (a ) b (c)) S 1 42 42 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 98765 0 0")
	if err != nil || got != 98765 {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := parseStart("nonsense"); err == nil {
		t.Error("nonsense is a start time")
	}
}

// A process is alive until it has ended, waited for or not, and another one with its number is not it.
func TestAlive(t *testing.T) {
	self, err := Self()
	if err != nil || !self.Alive() {
		t.Fatalf("%+v, %v", self, err)
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	start, err := ProcessStart(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	other := &Process{BootID: BootID(), PID: cmd.Process.Pid, StartTime: start}
	if !other.Alive() {
		t.Error("sleep is dead")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "a zombie to be dead", func() bool { return !other.Alive() })
	_ = cmd.Wait()
	for what, p := range map[string]*Process{
		"gone":         other,
		"another boot": {BootID: "x", PID: self.PID, StartTime: self.StartTime},
		"another one":  {BootID: self.BootID, PID: self.PID, StartTime: self.StartTime + 1},
	} {
		if p.Alive() {
			t.Errorf("%s: alive", what)
		}
	}
}
