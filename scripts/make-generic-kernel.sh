#!/bin/sh
# Builds the kernel `generic-6.12` from the distribution's kernel source package: everything a VM and
# a container engine in it need, nothing as a module. The same source gives the same bytes.
#
#   scripts/make-generic-kernel.sh [--out DIR] [--work DIR] [--jobs N]
#
# Writes DIR/vmlinux and DIR/config. Needs no root; on Debian it needs the packages
#   build-essential bc bison flex libelf-dev libssl-dev xz-utils
# some 4 GB in the work directory, and twenty minutes and more.
set -eu

SERIES=6.12
OUT=target/generic-$SERIES
WORK=
JOBS=$(nproc)

die() {
    echo "make-generic-kernel.sh: $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "\`$1\` wants a value"
    case $1 in
        --out) OUT=$2 ;;
        --work) WORK=$2 ;;
        --jobs) JOBS=$2 ;;
        *) die "unknown option \`$1\`" ;;
    esac
    shift 2
done

for program in apt-get dpkg-deb make gcc bc bison flex xz; do
    command -v "$program" >/dev/null || die "\`$program\` is not installed; see the top of this script"
done

# What the kernel must have, and what it must not. The build starts from the kernel's own defaults
# and this; afterwards every line of it has to have come true.
required_options() {
    cat <<'OPTIONS'
# Made for one place: everything is built in, and its configuration is in it.
CONFIG_64BIT=y
# CONFIG_MODULES is not set
CONFIG_IKCONFIG=y
CONFIG_IKCONFIG_PROC=y
CONFIG_LOCALVERSION="-banger"
# CONFIG_LOCALVERSION_AUTO is not set
# CONFIG_DEBUG_INFO_BTF is not set
# CONFIG_DEBUG_INFO is not set
# CONFIG_WERROR is not set
# VMMs enter the ELF file where it was linked: there is nothing to move it, or to unpack it.
# CONFIG_RANDOMIZE_BASE is not set

# The machine, of QEMU (microvm, q35) and of Firecracker.
CONFIG_SMP=y
CONFIG_NR_CPUS=64
CONFIG_HYPERVISOR_GUEST=y
CONFIG_PARAVIRT=y
CONFIG_PVH=y
CONFIG_KVM_GUEST=y
CONFIG_X86_X2APIC=y
CONFIG_X86_MPPARSE=y
CONFIG_ACPI=y
CONFIG_ACPI_BUTTON=y
CONFIG_PCI=y
CONFIG_PCI_MSI=y
CONFIG_PCI_MMCONFIG=y
CONFIG_VIRTIO_MENU=y
CONFIG_VIRTIO_MMIO=y
CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_BALLOON=y
CONFIG_BLK_DEV=y
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_NET=y
CONFIG_VIRTIO_CONSOLE=y
CONFIG_HW_RANDOM=y
CONFIG_HW_RANDOM_VIRTIO=y
CONFIG_VSOCKETS=y
CONFIG_VIRTIO_VSOCKETS=y
CONFIG_SERIAL_8250=y
CONFIG_SERIAL_8250_CONSOLE=y
# Firecracker's power button is a keyboard.
CONFIG_SERIO_I8042=y
CONFIG_KEYBOARD_ATKBD=y
CONFIG_RTC_CLASS=y
CONFIG_RTC_DRV_CMOS=y
CONFIG_PTP_1588_CLOCK_KVM=y
CONFIG_VIRT_DRIVERS=y
CONFIG_VMGENID=y
# CONFIG_DRM is not set
# CONFIG_SOUND is not set
# CONFIG_USB_SUPPORT is not set
# CONFIG_WLAN is not set

# The start: agent, disks, file systems.
CONFIG_BLK_DEV_INITRD=y
CONFIG_BINFMT_ELF=y
CONFIG_BINFMT_SCRIPT=y
CONFIG_BINFMT_MISC=y
CONFIG_IA32_EMULATION=y
CONFIG_TTY=y
CONFIG_UNIX98_PTYS=y
CONFIG_DEVTMPFS=y
CONFIG_PROC_FS=y
CONFIG_SYSFS=y
CONFIG_TMPFS=y
CONFIG_TMPFS_POSIX_ACL=y
CONFIG_TMPFS_XATTR=y
CONFIG_EXT4_FS=y
CONFIG_EXT4_FS_POSIX_ACL=y
CONFIG_EXT4_FS_SECURITY=y
CONFIG_OVERLAY_FS=y
CONFIG_FUSE_FS=y
CONFIG_VIRTIO_FS=y
CONFIG_XFS_FS=y
CONFIG_BTRFS_FS=y
CONFIG_SQUASHFS=y
CONFIG_ISO9660_FS=y
CONFIG_VFAT_FS=y
CONFIG_BLK_DEV_LOOP=y
CONFIG_MD=y
CONFIG_BLK_DEV_DM=y
CONFIG_DM_THIN_PROVISIONING=y
CONFIG_QUOTA=y
CONFIG_SWAP=y

# systemd and what people run under it.
CONFIG_FHANDLE=y
CONFIG_INOTIFY_USER=y
CONFIG_FANOTIFY=y
CONFIG_SIGNALFD=y
CONFIG_TIMERFD=y
CONFIG_EVENTFD=y
CONFIG_EPOLL=y
CONFIG_AIO=y
CONFIG_IO_URING=y
CONFIG_MEMBARRIER=y
CONFIG_CHECKPOINT_RESTORE=y
CONFIG_KCMP=y
CONFIG_AUTOFS_FS=y
CONFIG_SYSVIPC=y
CONFIG_POSIX_MQUEUE=y
CONFIG_SECCOMP=y
CONFIG_SECCOMP_FILTER=y
CONFIG_SECURITY=y
CONFIG_SECURITY_LANDLOCK=y
CONFIG_SECURITY_YAMA=y
CONFIG_BPF_SYSCALL=y
CONFIG_BPF_JIT=y
CONFIG_PERF_EVENTS=y
CONFIG_PSI=y
CONFIG_HIGH_RES_TIMERS=y
CONFIG_NO_HZ_IDLE=y
CONFIG_USERFAULTFD=y
CONFIG_TRANSPARENT_HUGEPAGE=y
CONFIG_HUGETLBFS=y
CONFIG_KEYS=y

# Namespaces and control groups.
CONFIG_NAMESPACES=y
CONFIG_UTS_NS=y
CONFIG_IPC_NS=y
CONFIG_USER_NS=y
CONFIG_PID_NS=y
CONFIG_NET_NS=y
CONFIG_CGROUPS=y
CONFIG_MEMCG=y
CONFIG_BLK_CGROUP=y
CONFIG_BLK_DEV_THROTTLING=y
CONFIG_CGROUP_SCHED=y
CONFIG_FAIR_GROUP_SCHED=y
CONFIG_CFS_BANDWIDTH=y
CONFIG_CGROUP_PIDS=y
CONFIG_CGROUP_FREEZER=y
CONFIG_CGROUP_HUGETLB=y
CONFIG_CPUSETS=y
CONFIG_CGROUP_DEVICE=y
CONFIG_CGROUP_CPUACCT=y
CONFIG_CGROUP_PERF=y
CONFIG_CGROUP_BPF=y

# The network, and what container engines do with it.
CONFIG_NET=y
CONFIG_PACKET=y
CONFIG_UNIX=y
CONFIG_UNIX_DIAG=y
CONFIG_INET=y
CONFIG_INET_DIAG=y
CONFIG_IPV6=y
# It would be in every guest as an interface that nobody asked for.
# CONFIG_IPV6_SIT is not set
CONFIG_IP_ADVANCED_ROUTER=y
CONFIG_IP_MULTIPLE_TABLES=y
CONFIG_IPV6_MULTIPLE_TABLES=y
CONFIG_NETDEVICES=y
CONFIG_NET_CORE=y
CONFIG_TUN=y
CONFIG_VETH=y
CONFIG_MACVLAN=y
CONFIG_IPVLAN=y
CONFIG_VXLAN=y
CONFIG_WIREGUARD=y
CONFIG_BRIDGE=y
CONFIG_BRIDGE_VLAN_FILTERING=y
CONFIG_VLAN_8021Q=y
CONFIG_NET_SCHED=y
CONFIG_NET_CLS_CGROUP=y
CONFIG_CGROUP_NET_PRIO=y
CONFIG_CGROUP_NET_CLASSID=y
CONFIG_NETFILTER=y
CONFIG_NETFILTER_ADVANCED=y
CONFIG_BRIDGE_NETFILTER=y
CONFIG_NETFILTER_NETLINK=y
CONFIG_NF_CONNTRACK=y
CONFIG_NF_CT_NETLINK=y
CONFIG_NF_NAT=y
CONFIG_NF_TABLES=y
CONFIG_NF_TABLES_INET=y
CONFIG_NF_TABLES_NETDEV=y
CONFIG_NF_TABLES_IPV4=y
CONFIG_NF_TABLES_IPV6=y
CONFIG_NF_TABLES_BRIDGE=y
CONFIG_NFT_CT=y
CONFIG_NFT_LOG=y
CONFIG_NFT_LIMIT=y
CONFIG_NFT_MASQ=y
CONFIG_NFT_REDIR=y
CONFIG_NFT_NAT=y
CONFIG_NFT_REJECT=y
CONFIG_NFT_COMPAT=y
CONFIG_NFT_HASH=y
CONFIG_NFT_FIB_IPV4=y
CONFIG_NFT_FIB_IPV6=y
CONFIG_NFT_FIB_INET=y
CONFIG_NFT_TPROXY=y
CONFIG_NFT_SOCKET=y
CONFIG_NETFILTER_XTABLES=y
CONFIG_NETFILTER_XT_MARK=y
CONFIG_NETFILTER_XT_NAT=y
CONFIG_NETFILTER_XT_TARGET_CHECKSUM=y
CONFIG_NETFILTER_XT_TARGET_MASQUERADE=y
CONFIG_NETFILTER_XT_TARGET_REDIRECT=y
CONFIG_NETFILTER_XT_TARGET_TCPMSS=y
CONFIG_NETFILTER_XT_MATCH_ADDRTYPE=y
CONFIG_NETFILTER_XT_MATCH_BPF=y
CONFIG_NETFILTER_XT_MATCH_COMMENT=y
CONFIG_NETFILTER_XT_MATCH_CONNTRACK=y
CONFIG_NETFILTER_XT_MATCH_IPVS=y
CONFIG_NETFILTER_XT_MATCH_MULTIPORT=y
CONFIG_NETFILTER_XT_MATCH_OWNER=y
CONFIG_NETFILTER_XT_MATCH_PHYSDEV=y
CONFIG_NETFILTER_XT_MATCH_STATISTIC=y
CONFIG_NETFILTER_XT_MATCH_U32=y
CONFIG_IP_SET=y
CONFIG_IP_SET_HASH_IP=y
CONFIG_IP_SET_HASH_NET=y
CONFIG_IP_VS=y
CONFIG_IP_VS_NFCT=y
CONFIG_IP_VS_PROTO_TCP=y
CONFIG_IP_VS_PROTO_UDP=y
CONFIG_IP_VS_RR=y
CONFIG_IP_NF_IPTABLES=y
CONFIG_IP_NF_FILTER=y
CONFIG_IP_NF_NAT=y
CONFIG_IP_NF_MANGLE=y
CONFIG_IP_NF_RAW=y
CONFIG_IP_NF_TARGET_MASQUERADE=y
CONFIG_IP_NF_TARGET_REDIRECT=y
CONFIG_IP_NF_TARGET_REJECT=y
CONFIG_IP6_NF_IPTABLES=y
CONFIG_IP6_NF_FILTER=y
CONFIG_IP6_NF_NAT=y
CONFIG_IP6_NF_MANGLE=y
CONFIG_IP6_NF_RAW=y
CONFIG_XFRM_USER=y
CONFIG_INET_ESP=y
CONFIG_CRYPTO=y
CONFIG_CRYPTO_AEAD=y
CONFIG_CRYPTO_GCM=y
CONFIG_CRYPTO_SEQIV=y
CONFIG_CRYPTO_GHASH=y
CONFIG_CRYPTO_USER_API_HASH=y
CONFIG_CRYPTO_USER_API_SKCIPHER=y
OPTIONS
}

if [ -z "$WORK" ]; then
    WORK=$(mktemp -d)
    trap 'rm -rf "$WORK"' EXIT
fi
mkdir -p "$OUT" "$WORK"
OUT=$(cd "$OUT" && pwd)
cd "$WORK"

echo "fetching linux-source-$SERIES" >&2
set -- linux-source-${SERIES}_*.deb
[ -e "$1" ] || apt-get download "linux-source-$SERIES"
set -- linux-source-${SERIES}_*.deb
if [ $# -ne 1 ] || [ ! -e "$1" ]; then
    die "expected one source package in \`$WORK\`, found: $*"
fi
[ -d package ] || dpkg-deb --extract "$1" package
[ -d "linux-source-$SERIES" ] || tar -xJf "package/usr/src/linux-source-$SERIES.tar.xz"

# What would differ from one build to the next: who built it, where, when, and how often.
KBUILD_BUILD_USER=banger
KBUILD_BUILD_HOST=banger
KBUILD_BUILD_VERSION=1
changelog=package/usr/share/doc/linux-source-$SERIES/changelog.Debian.gz
KBUILD_BUILD_TIMESTAMP=$(gzip -dc "$changelog" | sed -n '/^ -- /{s/^ -- .*>  //p;q}')
[ -n "$KBUILD_BUILD_TIMESTAMP" ] || die "\`$changelog\` has no date"
export KBUILD_BUILD_USER KBUILD_BUILD_HOST KBUILD_BUILD_VERSION KBUILD_BUILD_TIMESTAMP
unset KCFLAGS KCPPFLAGS LOCALVERSION MAKEFLAGS
LC_ALL=C
export LC_ALL

cd "linux-source-$SERIES"
required_options >"$WORK/required"
make -s KCONFIG_ALLCONFIG="$WORK/required" alldefconfig
make -s olddefconfig
# A line about an option that this kernel does not have (any more) is no `is not set` of it.
lacking=$(grep -E '^(CONFIG_|# CONFIG_.* is not set$)' "$WORK/required" | while read -r line; do
    case $line in
        CONFIG_*) grep -qxF "$line" .config || echo "$line" ;;
        *) name=${line#\# }; name=${name% is not set}; ! grep -q "^$name=" .config || echo "$line" ;;
    esac
done)
[ -z "$lacking" ] || die "the configuration did not become what it should:
$lacking"
! grep -q '=m$' .config || die "something became a module"

echo "building with $JOBS jobs" >&2
make -s -j"$JOBS" vmlinux
# Without symbols, which only debuggers read; the kernel has its own table of them.
objcopy --strip-all vmlinux "$OUT/vmlinux"
cp .config "$OUT/config"
echo "$OUT/vmlinux: Linux $(make -s kernelrelease)"
