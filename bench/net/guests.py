"""Two guests of the same image on the same host: one of banger's, and one whose QEMU and network were
started by hand with the words that banger uses, less its bridge and rules."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

import lan

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
BANGER = TOP / "target/bin/banger"
PEER = TOP / "target/release/examples/peer"
# Where a VMM finds its ends of the guest link and of its control connection, and its guest's memory
# (crates/proto/src/supervisor.rs).
LINK_FD, CONTROL_FD, MEMORY_FD = 8, 9, 10
PUBLISHED = 18000
SERVED = 8000


class Site:
    """The host with both of them; a context that ends everything."""

    def __enter__(self):
        with contextlib.ExitStack() as ends:
            self.ends = ends
            self.home = pathlib.Path(tempfile.mkdtemp(prefix="bb-"))
            ends.callback(shutil.rmtree, self.home)
            self.host, self.internet = lan.make_host()
            ends.callback(self.host.end)
            ends.callback(self.internet.end)
            self.env = {
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "XDG_RUNTIME_DIR": str(self.home / "run"),
                "XDG_STATE_HOME": str(self.home / "state"),
                "XDG_CONFIG_HOME": str(self.home / "config"),
                "XDG_DATA_HOME": str(TOP / "target/e2e/data"),
                "XDG_CACHE_HOME": str(TOP / "target/e2e/cache"),
            }
            for name in ("run", "state", "config"):
                (self.home / name).mkdir(mode=0o700)
            # Images and kernels are got outside: the host of this bench has an internet of its own.
            for words in (["kernel", "pull"], ["image", "build"], ["daemon", "stop"]):
                subprocess.run([BANGER, *words], env=self.env, check=True, capture_output=True)
            ends.callback(self.end_banger)
            self.banger("vm", "create", "--name", "ours", "--nat", "-p", f"{PUBLISHED}:{SERVED}")
            self.start_by_hand()
            # Everything began: from here on it ends with the site.
            self.ends = ends.pop_all()
        return self

    def banger(self, *words):
        return subprocess.run(self.host.inside(BANGER, *words), env=self.env, check=True, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL).stdout

    def start_by_hand(self):
        shown = json.loads(self.banger("vm", "show", "--json", "ours"))
        runtime = self.home / "run/banger/vms"
        launch = json.loads((runtime / shown["id"] / "launch.json").read_text())
        (runtime / "HAND").mkdir()
        shutil.copy(runtime / shown["id"] / "qemu.conf", runtime / "HAND")
        self.banger("vm", "create", "--no-start", "--name", "fresh")
        fresh = json.loads(self.banger("vm", "show", "--json", "fresh"))
        disks = self.home / "state/banger/vms"
        shutil.copytree(disks / fresh["id"], disks / "HAND", copy_function=copy_sparse)
        # What comes before `--` starts a program in banger's own network.
        vmm = launch["vmm"][launch["vmm"].index("--") + 1:]
        vmm = [word.replace(f"ifname=bt-{shown['id']}", f"ifname={lan.TAP}")
               .replace(shown["id"], "HAND") for word in vmm]
        mac = next(word for word in vmm if "mac=" in word).split("mac=")[1].split(",")[0]
        self.by_hand, pasta = lan.make_by_hand(self.host, self.home)
        self.ends.callback(self.by_hand.end)
        self.ends.callback(os.kill, pasta, signal.SIGTERM)
        network = {"mac": mac, "address": lan.GUEST, "prefix": 24, "gateway": lan.GATEWAY,
                   "resolver": lan.GATEWAY, "search": "vm", "mtu": lan.MTU}
        link, vmm_link = socket.socketpair()
        control, vmm_control = socket.socketpair()

        def inherit():
            os.dup2(vmm_link.fileno(), LINK_FD)
            os.dup2(vmm_control.fileno(), CONTROL_FD)
            os.dup2(os.memfd_create("guest", 0), MEMORY_FD)

        qemu = subprocess.Popen(self.by_hand.inside(*vmm), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, preexec_fn=inherit,
                                pass_fds=(LINK_FD, CONTROL_FD, MEMORY_FD))
        self.ends.callback(qemu.kill)
        self.control = control
        commands, asked = os.pipe()
        self.peer = subprocess.Popen(
            [PEER, launch["link_magic"], json.dumps(network), f"/dev/fd/{commands}"], stdin=link,
            stdout=subprocess.PIPE, pass_fds=(commands,), text=True)
        self.ends.callback(self.peer.kill)
        self.asked = os.fdopen(asked, "w", buffering=1)

    def start(self, whose, script):
        """Starts a script in a guest; what is returned waits for its end."""
        if whose == "by hand":
            self.asked.write(script + "\n")
            return lambda: self.peer.stdout.readline() == "done\n" or self.fail(script)
        running = subprocess.Popen(
            self.host.inside(BANGER, "vm", "exec", "ours", "--", "sh", "-c", script), env=self.env,
            stdin=subprocess.DEVNULL)
        return lambda: running.wait() == 0 or self.fail(script)

    def fail(self, script):
        raise RuntimeError(f"failed in a guest: {script}")

    def end_banger(self):
        for words in (["vm", "delete", "--force", "ours", "fresh"], ["daemon", "stop"]):
            subprocess.run(self.host.inside(BANGER, *words), env=self.env, capture_output=True)

    def __exit__(self, *_):
        self.ends.close()


def copy_sparse(source, target):
    subprocess.run(["cp", "--sparse=always", source, target], check=True)
