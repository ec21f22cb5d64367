"""A long way between two network namespaces: distance.py NEAR FAR SECONDS.

NEAR and FAR are processes in the namespaces. Each gets the interface `way`, 10.9.0.1
and 10.9.0.2; a packet takes SECONDS from one to the other. Prints a line when it is
ready, and ends with its standard input. In place of `netem`, which not every kernel
has.
"""

import ctypes
import fcntl
import os
import selectors
import struct
import subprocess
import sys
import time
from collections import deque

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
CLONE_NEWNET = 0x40000000
MTU = 65000


def interface(pid, address, peer):
    """Creates the interface in the namespace of a process."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET):
        sys.exit(f"cannot enter the namespace: {os.strerror(ctypes.get_errno())}")
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"way", IFF_TUN | IFF_NO_PI))
    ip = lambda *words: subprocess.run(["ip", *words], check=True)
    ip("address", "add", address, "peer", peer, "dev", "way")
    ip("link", "set", "way", "mtu", str(MTU), "txqueuelen", "20000", "up")
    return tun


def carry(near, far, delay):
    """Carries packets until standard input ends."""
    wakes = selectors.DefaultSelector()
    for descriptor in (0, near, far):
        wakes.register(descriptor, selectors.EVENT_READ)
    other = {near: far, far: near}
    on_the_way = deque()  # in the order of their arrival
    while True:
        left = max(0, on_the_way[0][0] - time.monotonic()) if on_the_way else None
        for key, _ in wakes.select(left):
            if key.fd == 0:
                return
            try:
                while True:
                    packet = os.read(key.fd, MTU + 100)
                    on_the_way.append((time.monotonic() + delay, other[key.fd], packet))
            except BlockingIOError:
                pass
        now = time.monotonic()
        while on_the_way and on_the_way[0][0] <= now:
            _, to, packet = on_the_way.popleft()
            os.write(to, packet)


def main():
    near = interface(sys.argv[1], "10.9.0.1", "10.9.0.2")
    far = interface(sys.argv[2], "10.9.0.2", "10.9.0.1")
    print("ready", flush=True)
    carry(near, far, float(sys.argv[3]))


main()
