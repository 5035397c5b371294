#!/usr/bin/env python3
"""The ends of connections outside of guests. All times are taken here, by the host's clock.

    traffic.py serve            commands on standard input: `down BYTES`, `up`, `echo ROUNDS`; the next
                                connection is measured, and its seconds printed
    traffic.py ask HOST PORT    commands: `get BYTES`, `connections COUNT`; seconds are printed
"""

import socket
import sys
import time

PORT = 9000
CHUNK = bytes(1 << 18)


def down(connection, count):
    since = time.monotonic()
    left = count
    while left:
        left -= connection.send(CHUNK[:left])
    connection.shutdown(socket.SHUT_WR)
    # The other end closes when it has read everything.
    connection.recv(1)
    return time.monotonic() - since


def drain(connection):
    buffer = bytearray(1 << 20)
    count = 0
    while read := connection.recv_into(buffer):
        count += read
    return count


def up(connection, count):
    since = time.monotonic()
    got = drain(connection)
    assert got == count, f"{got} of {count} bytes"
    return time.monotonic() - since


def echo(connection, rounds):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    took = []
    for _ in range(rounds):
        since = time.monotonic()
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        took.append(time.monotonic() - since)
    return sorted(took)[rounds // 2]


def serve():
    measures = {"down": down, "up": up, "echo": echo}
    with socket.create_server(("0.0.0.0", PORT)) as server:
        print("listens", flush=True)
        for line in sys.stdin:
            name, count = line.split()
            connection, _ = server.accept()
            with connection:
                took = measures[name](connection, int(count))
            print(took, flush=True)


def get(address, count):
    with socket.create_connection(address) as connection:
        connection.sendall(b"%d\n" % count)
        got = drain(connection)
        assert got == count, f"{got} of {count} bytes"


def ask(host, port):
    for line in sys.stdin:
        name, count = line.split()
        since = time.monotonic()
        if name == "get":
            get((host, int(port)), int(count))
        else:
            for _ in range(int(count)):
                get((host, int(port)), 1)
        print(time.monotonic() - since, flush=True)


if __name__ == "__main__":
    {"serve": serve, "ask": ask}[sys.argv[1]](*sys.argv[2:])
