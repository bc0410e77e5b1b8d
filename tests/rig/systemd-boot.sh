#!/usr/bin/env bash
# systemd-boot.sh DIR: boots a throw-away real systemd over a writable overlay of this machine's root, in the foreground.
# What lies in DIR/up when it starts is part of that root; everything it writes goes there, nothing to the real disk.
# DIR must be on another file system than /, such as /dev/shm/NAME. Its mounts and its network are its own, and both
# end with it: nothing is left behind but DIR.
set -euo pipefail
dir=$1
case $dir in /dev/shm/*) ;; *) echo "use a folder below /dev/shm" >&2; exit 2 ;; esac
mkdir -p "$dir/up/etc/systemd/system" "$dir/work" "$dir/root"
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer man-db.timer fstrim.timer dpkg-db-backup.timer \
  logrotate.timer redis-server.service nginx.service postgresql.service ssh.service; do
  ln -sf /dev/null "$dir/up/etc/systemd/system/$unit"
done
tr -d - </proc/sys/kernel/random/uuid >"$dir/up/etc/machine-id"
# a mount namespace first: never `systemd --system` under unshare alone, which would empty the real /tmp
exec unshare --mount --propagation private -- bash -c '
  set -e
  mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
  exec systemd-nspawn -q -D "$1/root" -b --register=no --keep-unit --private-network --machine="${1##*/}" --console=pipe
' _ "$dir"
