#!/bin/sh
# Finishes the image; run by the packaging tool with the root of the new system as $1, before
# that becomes an archive.
set -eu
PATH=$PATH:/usr/sbin:/sbin
root=$1

# Nothing that has to differ between VMs is in the image: the agent gives each its own.
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed"
rm -f "$root/etc/hostname" "$root/etc/resolv.conf"

# ssh goes over the guest link; who wants a listening server enables it again.
chroot "$root" systemctl --quiet disable ssh.service
chroot "$root" systemctl --quiet set-default multi-user.target

# Timers that wake idle machines or scrub disks that live for an hour.
chroot "$root" systemctl --quiet disable \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    e2scrub_reap.service systemd-timesyncd.service 2>/dev/null || true

# The root file system is mounted before systemd starts; there is nothing else to mount.
: >"$root/etc/fstab"

chroot "$root" passwd --quiet --lock root

# A shell with completion (that of a command over SSH, which reads the file too, would wait for it in
# vain), and UTF-8 everywhere without a locale to generate.
printf 'LANG=C.UTF-8\n' >"$root/etc/default/locale"
cat >>"$root/root/.bashrc" <<'BASHRC'

if [ -n "${PS1-}" ] && [ -f /usr/share/bash-completion/bash_completion ]; then
    . /usr/share/bash-completion/bash_completion
fi
BASHRC

# Left-overs of the installation. Not /tmp: the packaging tool keeps its own files there until it
# has cleaned up.
rm -f "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old "$root/.dockerenv"
find "$root/var/log" -type f -delete

# The packaging tool's dpkg options: what to leave out stays in force, the rest was for speed.
config="$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
if [ -f "$config" ]; then
    grep '^path-' "$config" >"$root/etc/dpkg/dpkg.cfg.d/banger-excludes" || true
    rm "$config"
fi
