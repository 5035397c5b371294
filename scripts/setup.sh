#!/usr/bin/env bash
# Installs what building and running banger needs on a Debian-like machine; with `tests`, also
# what the tests need. Does nothing, and needs no root, when all of it is there already.
set -euo pipefail

# program : package
needed=(
    "cc:gcc"
    "git:git"
    "mmdebstrap:mmdebstrap"
    "newuidmap:uidmap"
    "nft:nftables"
    "pasta:passt"
    "qemu-system-x86_64:qemu-system-x86"
)
if [ "${1:-}" = tests ]; then
    needed+=(
        "e2fsck:e2fsprogs"
        "busybox:busybox-static"
        "curl:curl"
        "docker-registry:docker-registry"
        "skopeo:skopeo"
        "umoci:umoci"
        "ip:iproute2"
        "modprobe:kmod"
        "python3:python3"
        "ssh:openssh-client"
        "sshd:openssh-server"
        "rsync:rsync"
        "openssl:openssl"
        "curl:curl"
        "jq:jq"
        "dpkg-deb:dpkg"
        "strace:strace"
        "zsh:zsh"
        "fish:fish"
    )
fi

missing=()
PATH="$PATH:/usr/sbin:/sbin"
for pair in "${needed[@]}"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
# Programs that are linked statically need the C library in that form.
[ -e /usr/lib/x86_64-linux-gnu/libc.a ] || missing+=("libc6-dev")
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=("debian-archive-keyring")

if [ ${#missing[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "setup: please install: ${missing[*]} (no apt-get on this machine)" >&2
        exit 1
    fi
    sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    echo "setup: installing ${missing[*]}" >&2
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    # The tests start their own; the package's would listen to everybody from now on.
    if [[ " ${missing[*]} " == *" docker-registry "* ]] && command -v systemctl >/dev/null; then
        "${sudo[@]}" systemctl --quiet disable --now docker-registry.service || true
    fi
fi

if ! command -v cargo >/dev/null; then
    echo "setup: cargo is missing: install Rust 1.89 or newer with rustup (https://rustup.rs)" >&2
    exit 1
fi
