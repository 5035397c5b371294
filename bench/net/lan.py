"""A host with an internet behind it, and a network of the kind that banger makes, without banger: each in
namespaces of this script's own.

    host 198.51.100.2 ──── 198.51.100.1 internet 203.0.113.9
      └─ pasta ── up0 [ by hand ] tap0 172.31.0.1 ──── 172.31.0.2 guest
"""

import pathlib
import subprocess

SERVER = "203.0.113.9"
GUEST, GATEWAY, TAP = "172.31.0.2", "172.31.0.1", "tap0"
# As in banger's network (OWN_MTU in crates/proto/src/helper.rs).
MTU = 65520


class Namespace:
    """A network namespace that a sleeping process keeps."""

    def __init__(self, *command):
        self.keeper = subprocess.Popen([*command, "sh", "-c", "echo; exec sleep infinity"],
                                       stdout=subprocess.PIPE)
        self.keeper.stdout.readline()

    def inside(self, *command):
        """`command`, to be run in it."""
        return ["nsenter", "--preserve-credentials", "-U", "-n", "-t", str(self.keeper.pid), "--",
                *map(str, command)]

    def set_up(self, *steps):
        for step in steps:
            subprocess.run(self.inside(*step.split()), check=True)

    def end(self):
        self.keeper.kill()
        self.keeper.wait()


def make_host():
    """The host and the internet behind it."""
    host = Namespace("unshare", "--user", "--map-root-user", "--net", "--")
    internet = Namespace(*host.inside("unshare", "--net", "--"))
    host.set_up("ip link set lo up",
                f"ip link add out type veth peer name in netns {internet.keeper.pid}",
                "ip addr add 198.51.100.2/24 dev out", "ip link set out up",
                "ip route add default via 198.51.100.1")
    internet.set_up("ip link set lo up", f"ip addr add {SERVER}/32 dev lo",
                    "ip addr add 198.51.100.1/24 dev in", "ip link set in up")
    return host, internet


def make_by_hand(host, directory: pathlib.Path):
    """A tap with pasta as the way out, in a namespace on `host`; with pasta's process."""
    # In a user namespace of its own, as banger's is: pasta gives up the capabilities that it would need to
    # enter one of its own namespace.
    by_hand = Namespace(*host.inside("unshare", "--user", "--map-root-user", "--net", "--"))
    by_hand.set_up("ip link set lo up", f"ip tuntap add {TAP} mode tap vnet_hdr",
                   f"ip addr add {GATEWAY}/24 dev {TAP}", f"ip link set {TAP} mtu {MTU} up",
                   "sysctl -q -w net.ipv4.ip_forward=1")
    rules = ("table ip by_hand { chain post { type nat hook postrouting priority srcnat\n"
             'oifname "up0" masquerade\n } \n }\n')
    subprocess.run(by_hand.inside("nft", "-f", "-"), input=rules, text=True, check=True)
    pid_file = directory / "pasta.pid"
    # The same words as banger's, from the namespace of the host.
    subprocess.run(host.inside(
        "pasta", "--config-net", "--ipv4-only", "--quiet", "--ns-ifname", "up0",
        "-t", "none", "-u", "none", "-T", "none", "-U", "none", "--no-map-gw",
        "-a", "10.255.77.2", "-n", "30", "-g", "10.255.77.1", "--mtu", MTU, "--runas", "0",
        "--pid", pid_file, "--log-file", directory / "pasta.log",
        "--netns", f"/proc/{by_hand.keeper.pid}/ns/net",
        "--userns", f"/proc/{by_hand.keeper.pid}/ns/user"), check=True)
    return by_hand, int(pid_file.read_text())
