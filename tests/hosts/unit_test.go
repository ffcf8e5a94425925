package hosts_test

import "testing"

func TestTry(t *testing.T) {
	m := boot(t)
	t.Log(m.sh(t, "systemd-analyze; systemd-analyze blame | head -40; systemctl list-units --type=service --no-pager; systemctl list-timers; systemd-run --wait -p Delegate=yes gantry run --net=none "+busybox+" -- sh -c 'sleep 3' & sleep 1; find /sys/fs/cgroup -name 'gantry-*'; systemd-cgls --no-pager"))
}
