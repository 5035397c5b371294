#!/usr/bin/env bash
# Makes the bundle of the default image from its recipe, for publish-golden-image.sh.
#
#   scripts/make-golden-bundle.sh OUT-DIRECTORY [BANGER]
#
# Prints the bundle's path, SHA-256 and size, a line each. Needs mmdebstrap; BANGER is the program,
# by default the one that `make build` makes.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
out=$1
cd "$(dirname "$0")/.."
case $out in /*) ;; *) out=$OLDPWD/$out ;; esac
banger=${2:-$PWD/target/bin/banger}
case $banger in /*) ;; *) banger=$OLDPWD/$banger ;; esac
name=debian-bookworm
recipe=images/$name

lines() { sed -e 's/[[:space:]]*$//' -e '/^[[:space:]]*\(#\|$\)/d' "$1"; }
excludes=()
while read -r path; do
    case $path in
        '!'*) excludes+=("--dpkgopt=path-include=${path#!}") ;;
        *) excludes+=("--dpkgopt=path-exclude=$path") ;;
    esac
done < <(lines "$recipe/excludes.list")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mmdebstrap --variant=minbase --architectures=amd64 --format=tar \
    --include="$(lines "$recipe/packages.list" | paste -sd,)" \
    --aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io "${excludes[@]}" \
    --customize-hook="$PWD/$recipe/customize.sh" \
    bookworm "$work/rootfs.tar" >&2
"$banger" internal make-bundle --rootfs-tar "$work/rootfs.tar" --name "$name" --distro debian \
    --description "$(jq -r --arg name "$name" '.images[] | select(.name == $name).description' images/catalog.json)" \
    --out "$out"
