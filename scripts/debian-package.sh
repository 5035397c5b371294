#!/usr/bin/env bash
# Packs programs that are laid out beneath a prefix (`make place`) as a Debian package.
#
#   scripts/debian-package.sh TREE VERSION OUT
set -euo pipefail
tree=$(realpath "${1:?the tree}")
version=${2:?the version}
out=$(realpath "${3:?the directory it goes into}")
# A preview comes before its release: Debian writes that with a tilde.
deb=${version/-/\~}

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 0755 "$root"
mkdir -p "$root/usr" "$root/DEBIAN"
cp -a "$tree/." "$root/usr/"
cat > "$root/DEBIAN/control" << END
Package: banger
Version: $deb
Architecture: amd64
Maintainer: The makers of banger <banger@localhost>
Section: admin
Priority: optional
Depends: git
Recommends: qemu-system-x86, passt, nftables, uidmap, mmdebstrap, openssh-client
Installed-Size: $(du -sk --apparent-size "$root/usr" | cut -f1)
Description: disposable, isolated Linux machines, one command each
 One command gives a developer or a coding agent a virtual machine of their
 own: with their repository in it, without root, and gone afterwards.
END
# The time of the source, so that the same source makes the same package.
find "$root" -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH:-0}" {} +
dpkg-deb --root-owner-group -Zxz --build "$root" "$out/banger_${deb}_amd64.deb"
