# What is asked of gantry on a host with pure cgroup v2. Prints "ok NAME" or "not ok NAME: why" for each thing asked.
set -u
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
BUSYBOX=oci-archive:/mnt/busybox.tar:busybox
CG=/sys/fs/cgroup

ok() { echo "ok $1"; }
not() { echo "not ok $1: $2" | tr '\n' ' '; echo; }
# is NAME GOT WANT
is() { if [ "$2" = "$3" ]; then ok "$1"; else not "$1" "got '$2', want '$3'"; fi; }
# has NAME TEXT PATTERN
has() { case $2 in *$3*) ok "$1" ;; *) not "$1" "'$2' has no '$3'" ;; esac; }
# nothing left of any pod
clean() {
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		left=$(find $CG -name 'gantry-*'; find /run/gantry/pods -mindepth 1 2>/dev/null; ls -A /var/lib/gantry/pods; pgrep -l gantry)
		[ -z "$left" ] && break
		sleep 0.2
	done
	is "$1" "$left" ""
}

uname -r
modprobe overlay
is "host is cgroup v2" "$(stat -fc %T $CG)" cgroup2fs
gantry fetch --quiet $BUSYBOX && ok "fetch" || not "fetch" "exit code $?"
ls /var/lib/gantry/images/*/

# A unit with Delegate=yes.
mkdir -p /run/systemd/system
cat >/run/systemd/system/pod.service <<UNIT
[Service]
Type=notify
Delegate=yes
KillMode=mixed
SuccessExitStatus=143
MemoryMax=200M
RuntimeDirectory=gantry
RuntimeDirectoryPreserve=yes
ExecStart=/usr/bin/gantry run --net=none --uuid-file-save=%t/gantry/%N.uuid $BUSYBOX --name=small --memory=32Mi --pids=50 --cpu=500m -- sleep 1000 --- $BUSYBOX --name=other -- sh -c 'while [ ! -e /go ]; do sleep 0.2; done; while :; do :; done'
ExecStopPost=-/usr/bin/gantry rm --force --uuid-file=%t/gantry/%N.uuid
UNIT
systemctl daemon-reload
systemctl start pod.service || { not "unit starts" "$(journalctl -u pod --no-pager -n 20)"; exit 1; }
ok "unit starts"
U=$CG/system.slice/pod.service
uuid=$(cat /run/gantry/pod.uuid)
pid=$(systemctl show --value -p MainPID pod)
is "supervisor in its own cgroup" "$(cat /proc/$pid/cgroup)" "0::/system.slice/pod.service/supervisor"
is "no process in the unit's own cgroup" "$(cat $U/cgroup.procs)" ""
is "no process in the pod's own cgroup" "$(cat $U/gantry-$uuid/cgroup.procs)" ""
is "an app in its cgroup" "$(cat $U/gantry-$uuid/small/cgroup.procs | wc -l)" 1
has "controllers for apps" "$(cat $U/gantry-$uuid/cgroup.subtree_control)" "memory pids"
is "memory limit" "$(cat $U/gantry-$uuid/small/memory.max)" 33554432
is "all of an app over its limit is ended" "$(cat $U/gantry-$uuid/small/memory.oom.group)" 1
is "no swap beyond the limit" "$(cat $U/gantry-$uuid/small/memory.swap.max 2>/dev/null || echo 0)" 0
is "without a limit neither" "$(cat $U/gantry-$uuid/other/memory.oom.group)" 0
is "processes are limited by default" "$(cat $U/gantry-$uuid/other/pids.max)" 2048
has "an app cannot write its cgroup" "$(gantry enter --app=small $uuid sh -c 'mkdir /sys/fs/cgroup/x || touch /sys/fs/cgroup/pids.max' 2>&1)" "Read-only"
is "process limit" "$(cat $U/gantry-$uuid/small/pids.max)" 50
is "processor limit" "$(cat $U/gantry-$uuid/small/cpu.max)" "50000 100000"
is "limit of the unit" "$(cat $U/memory.max)" 209715200
has "systemctl status shows apps" "$(systemctl status --no-pager pod)" "sleep 1000"
is "an app sees itself at the root" "$(gantry enter --app=small $uuid cat /proc/self/cgroup)" "0::/"
is "an entered command has the app's limits" "$(ulimit -Sn 99; gantry enter --app=small $uuid sh -c '[ $(ulimit -n) != 99 ] && echo not the limits of who enters')" "not the limits of who enters"
# The unit's share of the processor holds for its apps.
gantry enter --app=other $uuid touch /go
systemctl set-property --runtime pod.service CPUQuota=2%
is "processor limit of the unit" "$(cat $U/cpu.max)" "2000 100000"
before=$(sed -n 's/^nr_throttled //p' $U/cpu.stat)
for _ in 1 2 3 4 5 6 7 8 9 10; do after=$(sed -n 's/^nr_throttled //p' $U/cpu.stat); [ "$after" -gt "$before" ] && break; sleep 0.5; done
after=$(sed -n 's/^nr_throttled //p' $U/cpu.stat)
[ "$after" -gt "$before" ] && ok "an app is throttled by it" || not "an app is throttled by it" "$before times before, $after after"
systemctl set-property --runtime pod.service CPUQuota=
systemctl stop pod.service
is "unit stops" "$(systemctl show --value -p Result pod)" success
clean "unit leaves nothing"

# A unit that was started again has the cgroup that the dead pod's supervisor was in: who sweeps that pod leaves it alone.
systemd-run --quiet --unit=again -p Type=notify -p Delegate=yes -p KillMode=mixed -p SuccessExitStatus=143 -p Restart=always -p RestartSec=1ms gantry run --net=none --uuid-file-save=/run/again.uuid $BUSYBOX --name=app -- sleep 1000
first=$(cat /run/again.uuid)
kill -KILL $(systemctl show --value -p MainPID again)
for _ in 1 2 3 4 5 6 7 8 9 10; do [ "$(cat /run/again.uuid)" != $first ] && gantry status --wait-ready=10s --uuid-file=/run/again.uuid >/dev/null && break; sleep 0.5; done
pid=$(systemctl show --value -p MainPID again)
is "the next supervisor is where the dead one was" "$(cat /proc/$pid/cgroup)" "0::/system.slice/again.service/supervisor"
gantry rm $first >/dev/null && ok "the dead pod is removed" || not "the dead pod is removed" "exit code $?"
is "the next one lives on" "$(systemctl show --value -p MainPID,NRestarts again | sort | tr '\n' ' ')" "$(printf '1\n%s\n' $pid | sort | tr '\n' ' ')"
systemctl stop again
gantry rm --uuid-file=/run/again.uuid >/dev/null
clean "a unit started again leaves nothing"

# An app that goes over its limit. It fills memory by itself: User-mode Linux panics where a process is killed for memory in the midst of a
# read(2) that fills a page of it.
HUNGRY='BEGIN { for (s = "x"; ; ) s = s s }'
gantry run --net=none --uuid-file-save=/run/oom.uuid $BUSYBOX --name=hungry --memory=32Mi -- awk "$HUNGRY"
is "an app over its limit ends" $? 137
has "out of memory is on record" "$(gantry inspect --uuid-file=/run/oom.uuid)" '"oomKilled": true'
gantry rm --uuid-file=/run/oom.uuid >/dev/null

# The unit's limit.
systemd-run --quiet --wait -p Delegate=yes -p MemoryMax=40M -p OOMPolicy=continue gantry run --net=none --uuid-file-save=/run/oom.uuid $BUSYBOX --name=hungry -- awk "$HUNGRY"
is "an app over its unit's limit ends" $? 137
has "which is on record too" "$(gantry inspect --uuid-file=/run/oom.uuid)" '"oomKilled": true'
gantry rm --uuid-file=/run/oom.uuid >/dev/null
clean "neither leaves anything"

# A script in a delegated unit, which runs one pod after another: it must not stand in the way of the controllers.
cat >/run/script.sh <<SCRIPT
gantry run --net=none --uuid-file-save=/run/first.uuid $BUSYBOX --name=app --memory=32Mi -- sh -c 'cat /sys/fs/cgroup/memory.max; cat /proc/self/cgroup' >/run/first
gantry run --net=none --uuid-file-save=/run/second.uuid $BUSYBOX --name=app --memory=32Mi -- sleep 1000
SCRIPT
systemd-run --quiet --unit=twopods -p Delegate=yes -p SuccessExitStatus=143 sh /run/script.sh
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -s /run/second.uuid ] && gantry status --wait-ready=10s --uuid-file=/run/second.uuid >/dev/null && break; sleep 0.5; done
is "a pod of a script" "$(tr '\n' ' ' </run/first)" "33554432 0::/ "
is "the next pod is in the same unit" "$(cat $CG/system.slice/twopods.service/gantry-$(cat /run/second.uuid)/app/memory.max)" 33554432
systemctl stop twopods
gantry rm --uuid-file=/run/first.uuid >/dev/null
gantry rm --uuid-file=/run/second.uuid >/dev/null
clean "a script leaves nothing"

# A unit that was delegated nothing.
systemd-run --quiet --unit=plain -p Type=notify -p SuccessExitStatus=143 gantry run --net=none --uuid-file-save=/run/plain.uuid $BUSYBOX --name=app --memory=32Mi -- sleep 1000
uuid=$(cat /run/plain.uuid)
is "its supervisor stays where it was" "$(cat /proc/$(systemctl show --value -p MainPID plain)/cgroup)" "0::/system.slice/plain.service"
is "its pod lies beside all units" "$(cat $CG/gantry/gantry-$uuid/app/memory.max)" 33554432
systemctl stop plain
gantry rm $uuid >/dev/null
clean "which leaves nothing"

# A network of plugins that need no packet filter, which this kernel lacks half of; and the unit's processes are all below it.
modprobe veth
mkdir -p /etc/gantry/net.d
echo '{"cniVersion":"1.0.0","name":"plain","plugins":[{"type":"ptp","ipam":{"type":"host-local","subnet":"10.99.0.0/24","dataDir":"/run/leases"}}]}' >/etc/gantry/net.d/plain.conflist
systemd-run --quiet --unit=networked -p Type=notify -p Delegate=yes -p SuccessExitStatus=143 gantry run --net=plain --uuid-file-save=/run/net.uuid $BUSYBOX --name=web -- httpd -f -p 80 -h /etc
uuid=$(cat /run/net.uuid)
address=$(gantry status $uuid | sed -n 's/.*ip4=\([0-9.]*\).*/\1/p')
for _ in 1 2 3 4 5; do answer=$(busybox wget -q -O- http://$address/passwd 2>&1) && break; sleep 0.5; done
has "a pod answers on its network" "$answer" root:
systemctl stop networked
gantry rm $uuid >/dev/null
is "no interface is left" "$(ls /sys/class/net | grep veth)" ""
clean "a network leaves nothing"

# What a plugin leaves running is in the pod's cgroup, and ends with the pod.
modprobe bridge
mkdir -p /etc/gantry/paths.d /run/fault
echo '{"kind":"paths","version":"v1","cni":["/mnt/fault","/usr/libexec/gantry/cni"]}' >/etc/gantry/paths.d/cni.json
echo '{"cniVersion":"1.0.0","name":"faulty","plugins":[{"type":"cnifault","dir":"/run/fault"}]}' >/etc/gantry/net.d/faulty.conflist
echo daemon >/run/fault/ADD
systemd-run --quiet --unit=lingers -p Type=notify -p Delegate=yes -p SuccessExitStatus=143 gantry run --net=faulty --uuid-file-save=/run/net.uuid $BUSYBOX --name=app -- sleep 1000
uuid=$(cat /run/net.uuid)
has "a plugin's daemon is in the pod's cgroup" "$(cat /proc/$(pgrep cnifault)/cgroup)" "gantry-$uuid/_plugins"
systemctl stop lingers
is "and ends with the pod" "$(pgrep cnifault)" ""
gantry rm $uuid >/dev/null
systemd-run --quiet --unit=lingers2 -p Type=notify -p Delegate=yes -p KillMode=process gantry run --net=faulty --uuid-file-save=/run/net.uuid $BUSYBOX --name=app -- sleep 1000
kill -KILL $(systemctl show --value -p MainPID lingers2)
until gantry status --uuid-file=/run/net.uuid | grep -q state=exited; do sleep 0.1; done
gantry gc --grace-period=0s
is "and with gc, where the supervisor was killed" "$(pgrep cnifault; ls /sys/class/net | grep fault)" ""
clean "which leaves nothing of it"

# This kernel has nf_tables, but not of the family inet: the default network cannot be, and all who are asked say so.
modprobe nf_tables
has "check knows it" "$(gantry check 2>&1)" "no nf_tables of family inet with NAT and fib"
has "network check too" "$(gantry network check 2>&1)" "no nf_tables of family inet with NAT and fib"
gantry run --net=default --uuid-file-save=/run/net.uuid $BUSYBOX --name=app -- true 2>/run/refused
is "a pod on it is refused" $? 254
has "in one line that says why" "$(wc -l </run/refused) $(cat /run/refused)" "1 gantry: run: attach to network"
gantry gc --grace-period=0s
clean "which leaves nothing at all"

# The kernel of this machine has links that others lack: the tests of the package network, with the programs of containernetworking.
for m in ipvlan macvlan 8021q dummy vrf sctp; do modprobe $m; done
devices=$(cd /mnt/network && TMPDIR=/run ./network.test -test.v -test.run 'TestSCTPListenerIsSeen|TestPlugins/^(ipvlan|vlan|dummy|vrf)$' 2>&1)
for p in ipvlan vlan dummy vrf; do has "plugin $p" "$devices" "--- PASS: TestPlugins/$p "; done
has "a listener of SCTP is seen" "$devices" "--- PASS: TestSCTPListenerIsSeen"

# From a shell, a detached pod is a service with a cgroup of its own, whatever the shell has.
systemd-run --quiet --wait --pipe --unit=shell gantry run --net=none --detach --property=MemoryMax=100M $BUSYBOX --name=app -- sleep 1000 >/run/detached
uuid=$(cat /run/detached)
is "a detached pod is a service" "$(cat $CG/system.slice/gantry-$uuid.service/gantry-$uuid/app/cgroup.procs | wc -l)" 1
is "with its own limits" "$(cat $CG/system.slice/gantry-$uuid.service/memory.max)" 104857600
gantry stop $uuid
gantry rm $uuid >/dev/null
clean "a detached pod leaves nothing"

# SIGKILL of the supervisor: the reaper kills, by cgroup.kill where a process hides.
# Its unit has nothing of the pod in its own cgroup, and so does not help.
systemd-run --quiet --unit=killed -p Type=notify gantry run --net=none --pid=host --uuid-file-save=/run/killed.uuid $BUSYBOX --name=app -- sh -c 'sleep 1000 & sleep 1000 & wait'
uuid=$(cat /run/killed.uuid)
where=$(find $CG -name "gantry-$uuid")
kill -KILL $(gantry status $uuid | sed -n 's/^pid=//p')
until gantry status $uuid | grep -q state=exited; do sleep 0.1; done
is "processes of the host's PID namespace do not outlive it" "$(cat $where/app/cgroup.procs | wc -l)" 0
gantry gc --grace-period=0s
clean "gc after SIGKILL leaves nothing"

# A file system of its own may have been mounted.
is "no mount left in the host" "$(grep -c /var/lib/gantry/pods /proc/self/mountinfo)" 0
