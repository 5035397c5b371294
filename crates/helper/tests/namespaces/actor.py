"""A guest, the internet or a VMM: does in its own network what the test says, one line of JSON each."""

import ctypes, errno, fcntl, json, os, select, socket, struct, subprocess, sys, threading

LONG = 20  # seconds: what takes longer than this is an error of the test's
kept, heard, lock = {}, [], threading.Condition()
taps = {}


def serve_tcp(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("", port))
    listener.listen(64)

    def talk(stream, peer):
        stream.sendall(f"{peer[0]}\n".encode())
        while data := stream.recv(4096):
            stream.sendall(data)

    def accept():
        while True:
            threading.Thread(target=talk, args=listener.accept(), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def serve_udp(port, host=""):
    """Remembers what it hears and from where; answers can be sent with `answer_udp`."""
    server = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    if ":" in host:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    server.bind((host, port))

    def listen():
        while True:
            data, peer = server.recvfrom(4096)
            with lock:
                kept["peer"] = (server, peer)
                heard.append([data.decode(), peer[0]])
                lock.notify_all()

    threading.Thread(target=listen, daemon=True).start()


def answer_udp(text):
    server, peer = kept["peer"]
    server.sendto(text.encode(), peer)


def hear(text):
    """All that was heard, once `text` was."""
    with lock:
        if not lock.wait_for(lambda: any(said == text for said, _ in heard), LONG):
            raise TimeoutError("heard only " + repr(heard))
        return heard


def tcp(host, port, keep=None):
    stream = socket.create_connection((host, port), timeout=LONG)
    kept[keep] = stream
    return stream.recv(100).decode().strip()


def say(keep, text):
    """By a connection that was kept; the echo."""
    kept[keep].sendall(text.encode())
    return kept[keep].recv(100).decode()


def udp(host, port, text, keep=None):
    """Sends, and waits for an answer or a refusal."""
    kept[keep] = stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stream.settimeout(LONG)
    stream.connect((host, port))
    stream.send(text.encode())
    return stream.recv(100).decode()


def tell_kept(host, port, text, keep):
    """Sends by a socket that is kept, for `listen_udp`."""
    kept[keep] = stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stream.settimeout(LONG)
    stream.connect((host, port))
    stream.send(text.encode())


def listen_udp(keep):
    return kept[keep].recv(100).decode()


def tell(host, port, text):
    """Sends, and waits for nothing."""
    stream = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    where = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][4]
    stream.sendto(text.encode(), where)


def ping(host):
    """Who answers an echo."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as echo:
        echo.settimeout(LONG)
        # Type 8, with its checksum.
        echo.sendto(struct.pack("!BBHHH", 8, 0, 0xF7FF - 0x1234, 0x1234, 0), (host, 0))
        while True:
            packet, peer = echo.recvfrom(4096)
            if packet[20] == 0 and packet[24:26] == b"\x12\x34":
                return peer[0]


def run(*argv):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return [done.returncode, done.stdout, done.stderr]


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def datagram_frame(to, source_mac, source, target, port, text):
    data = struct.pack("!HHHH", 7, port, 8 + len(text), 0) + text.encode()
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(data), 1, 0, 64, 17, 0,
        socket.inet_aton(source), socket.inet_aton(target),
    )
    total = sum(struct.unpack("!10H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    return mac(to) + mac(source_mac) + b"\x08\x00" + head + data


def arp_frame(to, frame_mac, operation, source_mac, source, target):
    return (
        mac(to) + mac(frame_mac) + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
        + mac(source_mac) + socket.inet_aton(source) + bytes(6) + socket.inet_aton(target)
    )


def send_frame(frame):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as card:
        card.bind(("eth0", 0))
        card.send(frame)


def spoof_datagram(*fields):
    send_frame(datagram_frame(*fields))


def spoof_arp(*fields):
    send_frame(arp_frame(*fields))


def attach(name):
    """TUNSETIFF with IFF_TAP | IFF_NO_PI | IFF_VNET_HDR."""
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x5002))
    taps[name] = tap


def ask_arp(name, source_mac, source, target):
    """Who has `target`, by a frame of Ethernet on an attached tap; the answer's Ethernet address."""
    header = bytes(10)  # virtio's, empty
    frame = arp_frame("ff:ff:ff:ff:ff:ff", source_mac, 1, source_mac, source, target)
    # Asked again like everybody does: the bridge drops frames until it has seen that somebody attached.
    for _ in range(LONG * 4):
        os.write(taps[name], header + frame)
        while select.select([taps[name]], [], [], 0.25)[0]:
            seen = os.read(taps[name], 4096)[10:]
            if seen[12:14] == b"\x08\x06" and seen[20:22] == b"\x00\x02":
                return seen[22:28].hex(":")
    raise TimeoutError("no answer")


def setns(path):
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path) as namespace:
        if libc.setns(namespace.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def read(path):
    with open(path) as file:
        return file.read()


print(json.dumps({"ok": os.getpid()}), flush=True)
for line in sys.stdin:
    verb, *arguments = json.loads(line)
    try:
        result = {"ok": globals()[verb](*arguments)}
    except TimeoutError as error:
        result = {"error": f"timeout {error}"}
    except OSError as error:
        result = {"error": errno.errorcode[error.errno]}
    print(json.dumps(result), flush=True)
