package hosts_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gantryrun/gantry/tests/await"
)

// However early a stop comes, while gantry prepares, becomes the supervisor or starts the apps, it is heard, it is no failure, and nothing
// is left. (A signal that came just before gantry became the supervisor was lost: the unit was killed after TimeoutStopSec=.)
func TestStopWhileStarting(t *testing.T) {
	m := boot(t)
	m.unit(t, "early.service", strings.Replace(contract, "TimeoutStopSec=15", "TimeoutStopSec=60", 1)+run+busybox+" -- sleep 1000\n")
	for round := range 10 {
		m.must(t, "systemctl", "start", "--no-block", "early.service")
		time.Sleep(time.Duration(round) * 10 * time.Millisecond) // at another moment each time: whichever it is, the outcome is the same
		m.must(t, "systemctl", "stop", "early.service")
		if r := m.show(t, "early.service", "Result"); r != "success" {
			t.Fatalf("round %d: result %s\n%s", round, r, m.journal(t, "early.service"))
		}
	}
	m.clean(t)
}

// A stop while images are fetched ends the fetch, and is no failure.
func TestStopWhileFetching(t *testing.T) {
	m := boot(t)
	m.unit(t, "endless.service", contract+"TimeoutStartSec=600\n"+run+m.slowRegistry(t, nil)+" -- sleep 1000\n")
	m.must(t, "systemctl", "start", "--no-block", "endless.service")
	await.Until(t, "the fetch", func() bool { return strings.HasPrefix(m.show(t, "endless.service", "StatusText"), "fetching") })
	m.must(t, "systemctl", "stop", "endless.service")
	if r := m.show(t, "endless.service", "Result"); r != "success" {
		t.Errorf("result %s\n%s", r, m.journal(t, "endless.service"))
	}
	await.Until(t, "why in the journal", func() bool { return strings.Contains(m.journal(t, "endless.service"), "interrupted by SIGTERM") })
}
