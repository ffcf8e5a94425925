# boot.sh TREE STATE NAME: become systemd, as PID 1 of new namespaces. NAME is this host's cgroup in every hierarchy, which exists.
# The host sees a cgroup namespace whose roots are these, and can do below them what it likes.
set -eu
TREE=$1 STATE=$2 NAME=$3
if [ "${4:-}" != inside ]; then
	for c in /sys/fs/cgroup/*/"$NAME"; do echo $$ >"$c/cgroup.procs"; done
	exec unshare --mount --pid --fork --uts --ipc --net --cgroup --kill-child --propagation private \
		sh "$STATE/boot.sh" "$TREE" "$STATE" "$NAME" inside
fi
R=$STATE/root
mount -t overlay -o "lowerdir=$TREE,upperdir=$STATE/upper,workdir=$STATE/work" overlay "$R"
mount -t proc proc "$R/proc"
mount -t sysfs -o ro sysfs "$R/sys"
mount -t tmpfs -o mode=755 run "$R/run"
mount -t tmpfs -o mode=1777 tmp "$R/tmp"
mount -t tmpfs -o mode=755 dev "$R/dev"
mkdir "$R/dev/net" "$R/dev/pts" "$R/dev/shm" "$R/dev/mqueue"
for d in null zero full random urandom tty kmsg net/tun; do
	[ -e "/dev/$d" ] || continue
	: >"$R/dev/$d"
	mount --bind "/dev/$d" "$R/dev/$d"
done
: >"$R/dev/console"
mount --bind /dev/null "$R/dev/console"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$R/dev/pts"
mount -t tmpfs -o mode=1777 shm "$R/dev/shm"
ln -s pts/ptmx "$R/dev/ptmx"
ln -s /proc/self/fd "$R/dev/fd"
ln -s fd/0 "$R/dev/stdin"
ln -s fd/1 "$R/dev/stdout"
ln -s fd/2 "$R/dev/stderr"
mount -t tmpfs -o mode=755 cgroup "$R/sys/fs/cgroup"
for c in /sys/fs/cgroup/*/"$NAME"; do
	h=${c%/*} h=${h##*/}
	mkdir "$R/sys/fs/cgroup/$h"
	case $h in
	unified) mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup/$h" ;;
	systemd) mount -t cgroup -o none,name=systemd cgroup "$R/sys/fs/cgroup/$h" ;;
	*) mount -t cgroup -o "$h" cgroup "$R/sys/fs/cgroup/$h" ;;
	esac
done
mount -o remount,ro "$R/sys/fs/cgroup" # as systemd does where it mounts it itself
mkdir -p "$R/var/log/journal" "$R/usr/libexec/gantry" "$R/var/lib/gantry"
mount --bind "$STATE/share" "$R/mnt"
mount --bind "$STATE/data" "$R/var/lib/gantry"
mount --bind -o ro "$STATE/bin" "$R/usr/libexec/gantry"
ln -s ../libexec/gantry/gantry "$R/usr/bin/gantry"
ip link set lo up
hostname "$NAME"
cd "$R"
mkdir .old
pivot_root . .old
umount -l .old
rmdir .old
mount --make-rshared / # what systemd does itself where it is not told that it is in a container
exec env -i container=gantry-tests PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
	/lib/systemd/systemd --system --log-target=journal --show-status=0
