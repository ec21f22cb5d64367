#!/bin/sh
# Turns the namespaces in which it starts into a machine and becomes the machine's
# first process. Usage: boot.sh MACHINE_DIR LOG_DIR DEBS HOSTNAME, with the LAB_*
# variables. Prints "ready" when its network namespace can receive an interface, then
# waits for a line on standard input.
set -eu
machine=$1 log=$2 debs=$3
hostname "$4"
exec 3>>"$log/sshd.log"

# The host's files; everything that is written stays in memory.
mount -t overlay -o "lowerdir=/,upperdir=$machine/upper,workdir=$machine/work" \
    overlay "$machine/root"
cd "$machine/root"
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
mkdir -p run/lock dev/pts dev/shm
for device in null zero full random urandom tty; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mount --bind "$debs" var/lib/lab/debs

# Allow services to start, install packages only from the lab, and skip the manual
# pages.
rm -f usr/sbin/policy-rc.d etc/apt/sources.list.d/* var/lib/man-db/auto-update

echo ready
read -r _
ip link set lo up
ip address add "$LAB_ADDRESS/32" dev eth0
ip link set eth0 up
ip route add "$LAB_CLIENT" dev eth0
ip route add default via "$LAB_CLIENT" dev eth0 onlink

exec >>"$log/console.log" 2>&1
pivot_root . mnt
exec unshare --pid --fork --kill-child /usr/local/sbin/lab-init
