#!/usr/bin/env bash
# boot.sh BASE DIR CGROUP: starts systemd as the first process of a Debian of its own, and stays until that ends.
#
# BASE is a root made by debootstrap, which is not changed: what is written goes to DIR. The machine has its own processes,
# mounts, network (loopback only), host name and control groups (below CGROUP), and this kernel.
set -euo pipefail
base=$1 dir=$2 cgroup=$3
mkdir -p "$dir/upper" "$dir/work" "$dir/root" "$cgroup"
echo $$ >"$cgroup/cgroup.procs"
exec unshare --mount --pid --uts --ipc --net --cgroup --fork --kill-child bash -euc '
base=$0 dir=$1 root=$1/root
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$base,upperdir=$dir/upper,workdir=$dir/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
for name in null zero full random urandom tty; do
  : >"$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
hostname ringlog-test
cd "$root"
mkdir -p .before
pivot_root . .before
umount -l /.before
exec env -i container=ringlog-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
' "$base" "$dir" </dev/null
