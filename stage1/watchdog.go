package stage1

import (
	"os"
	"strconv"
	"time"
)

// watchdog is WatchdogSec= of the unit: systemd kills a supervisor that does not say WATCHDOG=1 within the period. The loop says so at
// every half of it, and so no longer does when it hangs. Without WatchdogSec= there is no timer.
type watchdog struct {
	period time.Duration // 0: none
	ticker *time.Ticker  // runs once the pod is ready: systemd counts from then on
	beat   <-chan time.Time
}

// findWatchdog reads what systemd says to this process, and to no other.
func findWatchdog() watchdog {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if pid := os.Getenv("WATCHDOG_PID"); err != nil || usec < 2 || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return watchdog{}
	}
	return watchdog{period: time.Duration(usec) * time.Microsecond}
}

func (w *watchdog) start() {
	if w.period > 0 && w.ticker == nil {
		w.ticker = time.NewTicker(w.period / 2)
		w.beat = w.ticker.C
	}
}

// beaten says that the supervisor is well, and with it every app that wants to be watched. A hook says nothing, and an app that was asked to stop
// has its time for that.
func (s *supervisor) beaten() {
	for a := range s.apps {
		if a.Watchdog && a.pid != 0 && a.hook == "" && a.deadline.IsZero() && !s.ending && time.Since(latest(a.alive, a.started)) > s.watchdog.period {
			s.announce.status("app " + a.Name + " has said no WATCHDOG=1 for " + s.watchdog.period.String())
			return
		}
	}
	s.announce.alive()
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// watchdogEnv tells a watched app how often it has to say that it is alive (sd_watchdog_enabled(3)).
func (s *supervisor) watchdogEnv(a *app) []string {
	if !a.Watchdog || s.watchdog.period == 0 {
		return nil
	}
	return []string{"WATCHDOG_USEC=" + strconv.FormatInt(s.watchdog.period.Microseconds(), 10)}
}
