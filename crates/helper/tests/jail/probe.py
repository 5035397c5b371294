"""A VMM that a guest has taken over: does what the test says, one line of JSON each."""

import ctypes, errno, json, os, signal, socket, subprocess, sys

libc = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_REMOUNT, MS_BIND = 1, 32, 4096
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x20000


def call(function, *arguments):
    if function(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "")


def read(path):
    with open(path) as file:
        return file.read()


def write(path, text, mode="w"):
    with open(path, mode) as file:
        file.write(text)


def listing(path):
    return sorted(os.listdir(path))


def link(path):
    return os.readlink(path)


def remove(path):
    os.unlink(path)


def bind(path):
    """A socket, as VMMs make some."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)


def connect(path):
    socket.socket(socket.AF_UNIX).connect(path)


def tcp(port):
    socket.create_connection(("127.0.0.1", port), timeout=5)


def kill(pid, number=signal.SIGTERM):
    os.kill(pid, number)


def ptrace(pid):
    call(libc.ptrace, 16, pid, 0, 0)  # PTRACE_ATTACH


def remount(path):
    call(libc.mount, None, path.encode(), None, MS_REMOUNT | MS_BIND, None)


def mount(path):
    call(libc.mount, b"none", path.encode(), b"tmpfs", 0, None)


def unmount(path):
    call(libc.umount2, path.encode(), 2)


def nest(path):
    """As root of a user namespace in this one, what one may not do here. In a process of its own."""
    child = os.fork()
    if child == 0:
        try:
            call(libc.unshare, CLONE_NEWUSER | CLONE_NEWNS)
            remount(path)
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, "")


def descriptors():
    """Those that are open, but for the one that it takes to look."""
    return [fd for fd in range(64) if os.path.lexists(f"/proc/self/fd/{fd}")]


def own():
    return {
        "pid": os.getpid(),
        "ids": [*os.getresuid(), *os.getresgid()],
        "status": read("/proc/self/status"),
        "host": socket.gethostname(),
        "links": [name for _, name in socket.if_nameindex()],
        "namespaces": {name: os.stat(f"/proc/self/ns/{name}").st_ino for name in ("user", "net", "pid")},
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "limits": __import__("resource").getrlimit(__import__("resource").RLIMIT_NOFILE),
    }


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    return [done.returncode, done.stdout, done.stderr]


def end(code):
    os._exit(code)


def abort():
    os.abort()


def answer(line):
    verb, *arguments = json.loads(line)
    try:
        return {"ok": globals()[verb](*arguments)}
    except OSError as error:
        return {"error": errno.errorcode.get(error.errno, repr(error))}


for line in sys.stdin:
    print(json.dumps(answer(line)), flush=True)
