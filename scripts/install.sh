#!/usr/bin/env bash
# Installs banger, or removes it.
#
#   curl -fsSL ADDRESS/install.sh | bash
#   curl -fsSL ADDRESS/install.sh | bash -s -- --user
#
#   --user              beneath ~/.local, without root (default: /usr/local, with sudo)
#   --prefix DIR        beneath DIR
#   --version vX.Y.Z    this release instead of the newest
#   --yes               without asking
#   --uninstall         remove the programs; VMs, images and settings stay
#
# Everything is fetched and verified as the user who runs this, with openssl alone; what is verified
# is what is installed. Before sudo is used it is said what for.
set -euo pipefail

# Where releases are, and the key that they are signed with; scripts/publish-release.sh fills them in.
# KEY BEGINS
RELEASES=${BANGER_RELEASES:-}
KEY=PLACEHOLDER
# KEY ENDS

say() { echo "install.sh: $*" >&2; }
die() {
    say "$@"
    exit 1
}

# Runs what changes the prefix: as root where this user may not.
as_owner() { ${sudo:+"$sudo"} "$@"; }

# Asks the person at the terminal: standard input is this script, mostly.
ask() {
    [ "$yes" = no ] || return 0
    if ! { : > /dev/tty; } 2>/dev/null; then
        die "there is no terminal to ask at; run it with --yes"
    fi
    printf '%s [y/N] ' "$1" > /dev/tty
    read -r answer < /dev/tty
    case $answer in y | Y | yes) ;; *) die "nothing was changed" ;; esac
}

fetch() { # NAME
    curl -fsSL --proto '=https,http,file' --proto-redir '=https' --retry 3 -o "$work/$1" "$RELEASES/$2" ||
        die "cannot fetch $RELEASES/$2"
}

# A prefix that this user may not write to is root's, and sudo's business.
choose_owner() {
    local existing=$prefix
    while [ ! -e "$existing" ]; do existing=$(dirname "$existing"); done
    sudo=''
    if [ ! -w "$existing" ]; then
        command -v sudo >/dev/null || die "this user may not write to $existing, and there is no sudo: --user installs beneath ~/.local"
        sudo=sudo
    fi
}

install_release() {
    [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || die "banger is made for Linux on x86-64, not for $(uname -s) on $(uname -m)"
    for program in curl openssl tar gzip; do
        command -v "$program" >/dev/null || die "\`$program\` is missing: install it first"
    done
    case $KEY in *"BEGIN PUBLIC KEY"*) ;; *) die "this is the installer of a checkout, which knows no key: take that of a release" ;; esac
    [ -n "$RELEASES" ] || die "this installer knows no releases"
    printf '%s\n' "$KEY" > "$work/key.pem"

    if [ -z "$version" ]; then
        fetch manifest.json manifest.json
        # The list is not believed more than that there is such a release: its files are signed.
        version=$(grep -o '"version" *: *"v[0-9]*\.[0-9]*\.[0-9]*"' "$work/manifest.json" |
            grep -o 'v[0-9.]*' | sort -V | tail -n 1)
    fi
    [[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || die "\`$version\` is no version"
    local name=banger-$version-x86_64-linux
    fetch sums "$version/SHA256SUMS"
    fetch sums.sig "$version/SHA256SUMS.sig"
    fetch archive "$version/$name.tar.gz"
    if ! openssl base64 -d -A -in "$work/sums.sig" -out "$work/sums.der" 2>/dev/null ||
        ! openssl dgst -sha256 -verify "$work/key.pem" -signature "$work/sums.der" "$work/sums" >/dev/null 2>&1; then
        die "the signature of $version is not that of banger's makers: nothing was installed"
    fi
    local wanted found
    wanted=$(grep -x "[0-9a-f]\{64\}  $name.tar.gz" "$work/sums" | cut -c1-64) || true
    [ -n "$wanted" ] || die "what is signed as $version has no $name.tar.gz: nothing was installed"
    found=$(openssl dgst -sha256 -r "$work/archive" | cut -c1-64)
    [ "$found" = "$wanted" ] || die "$name.tar.gz is not what was signed: nothing was installed"
    mkdir "$work/tree"
    tar -xzf "$work/archive" -C "$work/tree" --no-same-owner --no-same-permissions
    [ "$("$work/tree/$name/bin/banger" version --json | tr -d ' \n' | grep -o '"version":"[^"]*"')" = "\"version\":\"${version#v}\"" ] ||
        die "$version does not work on this machine: nothing was installed"

    local release=$version-${wanted:0:12} lib=$prefix/lib/banger
    # The same one again, which may be in use: beside it, so that there is one at any moment. The next
    # update removes the other.
    [ ! -e "$lib/releases/$release" ] || release=$release-$(date +%s%N)
    choose_owner
    if [ -e "$prefix/bin/banger" ] && [ ! -L "$prefix/bin/banger" ]; then
        die "$prefix/bin/banger was installed in another way: remove it first, the way it came"
    fi
    say "banger $version will be installed${sudo:+, with sudo}:"
    say "  $lib/releases/$release   the programs"
    say "  $prefix/bin/banger   a link to them, and links to completions beneath $prefix/share"
    ask "Install it?"
    as_owner mkdir -p "$lib/releases" "$prefix/bin"
    # Also what one left that was killed.
    as_owner rm -rf "$lib/releases"/.new-*
    as_owner cp -r "$work/tree/$name" "$lib/releases/.new-$release"
    as_owner mv -T "$lib/releases/.new-$release" "$lib/releases/$release"
    as_owner ln -sfn "releases/$release" "$lib/.current-new"
    as_owner mv -T "$lib/.current-new" "$lib/current"
    as_owner ln -sfn ../lib/banger/current/bin/banger "$prefix/bin/banger"
    link_shared
    say "banger $version is installed."
    case :$PATH: in
        *":$prefix/bin:"*) say "Begin with: banger doctor" ;;
        *) say "$prefix/bin is not in PATH: add it, then begin with: banger doctor" ;;
    esac
}

# Links what shells and man look for into the release in use, where it has such a file.
link_shared() {
    local share=$prefix/lib/banger/current/share kind path
    for kind in bash-completion zsh fish man; do
        [ ! -d "$share/$kind" ] ||
            (cd "$share" && find "$kind" -type f) | while read -r path; do
                as_owner mkdir -p "$prefix/share/$(dirname "$path")"
                as_owner ln -sfn "$share/$path" "$prefix/share/$path"
            done
    done
}

uninstall() {
    local lib=$prefix/lib/banger banger=$prefix/bin/banger running path
    [ -L "$lib/current" ] || die "there is no banger beneath $prefix that this has installed"
    if grep -qs "\"prefix\": *\"$lib/" /etc/banger/system.json; then
        die "its services are installed, too: first sudo banger system uninstall"
    fi
    choose_owner
    if [ -z "$sudo" ]; then
        running=$("$banger" daemon status --json 2>/dev/null | grep -o '"vms_running": *[0-9]*' | grep -o '[0-9]*$') || running=0
        [ "$running" = 0 ] || die "$running VMs run: stop them first (banger ps; banger vm stop NAME)"
    fi
    say "these will be removed${sudo:+, with sudo}: $banger, $lib/releases, $lib/current, and links to them in $prefix/share"
    ask "Remove them?"
    [ -n "$sudo" ] || "$banger" daemon stop >/dev/null 2>&1 || true
    for path in bash-completion zsh fish man; do
        [ ! -d "$prefix/share/$path" ] ||
            find "$prefix/share/$path" -lname "$lib/current/*" -print0 | while IFS= read -r -d '' link; do as_owner rm -f "$link"; done
    done
    as_owner rm -f "$banger" "$lib/current" "$lib/.current-new"
    as_owner rm -rf "$lib/releases"
    as_owner rmdir --ignore-fail-on-non-empty "$lib"
    say "banger is removed. VMs, images and settings of each user are where they were:"
    say "  \$XDG_STATE_HOME/banger (~/.local/state), \$XDG_DATA_HOME/banger (~/.local/share),"
    say "  \$XDG_CONFIG_HOME/banger (~/.config), \$XDG_CACHE_HOME/banger (~/.cache)"
}

main() {
    prefix=/usr/local version='' yes=no action=install_release
    while [ $# -gt 0 ]; do
        case $1 in
            --user) prefix=$HOME/.local ;;
            --prefix) prefix=${2:?--prefix wants a directory} && shift ;;
            --version) version=${2:?--version wants vX.Y.Z} && shift ;;
            --yes) yes=yes ;;
            --uninstall) action=uninstall ;;
            *) die "unknown option \`$1\`" ;;
        esac
        shift
    done
    case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    "$action"
}

# At the very end: of a script that arrived in part, nothing is run.
main "$@"
