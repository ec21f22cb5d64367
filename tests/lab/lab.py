#!/usr/bin/env python3
"""The test lab: AWS's API and real machines in a separate network namespace.

Usage (as root): lab.py DIR. See README.md. Prints one line of JSON when the lab is ready.
Ends when its standard input is closed.
"""

import ctypes
import json
import os
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.dont_write_bytecode = True  # leaves no files in the checkout

from machine import CLIENT, HERE, Machine, package_index, run, start

DEFAULTS = {
    "boot": True,
    "pending_seconds": 0.3,
    "terminating_seconds": 0.3,
    "not_found": 1,
    "console": "fingerprints",
    "console_after": 0,
    "cloud_init": True,
    "user_data_result": None,
    "host_keys": None,
    "account_blocks_public": False,
    "no_default_vpc": False,
    "kernel": None,
    "fail": {},
    "hang": {},
    "hosts": [],
}
# The range of the public addresses that moto's random_public_ip generates.
PUBLIC_RANGE = "54.214.0.0/16"
CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: lab.py DIR")
    directory = Path(sys.argv[1]).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    outside = os.getpid()
    # The lab is the first process of a PID namespace. When the lab ends, for
    # whatever reason, the kernel kills every process in the namespace, and the
    # mounts and interfaces disappear with the last process. This outer process only
    # waits. The lab notices the end of the outer process by a pipe.
    unshare(CLONE_NEWPID | CLONE_NEWNET)
    alive, held = os.pipe()
    child = os.fork()
    if child:
        os.close(alive)
        _, status = os.waitpid(child, 0)
        try:
            (directory / "memory").rmdir()
        except OSError:
            pass  # never created
        sys.exit(1 if status else 0)
    os.close(held)
    start(exit_at_end_of, alive)
    try:
        Lab(directory).serve(outside)
    except Exception:
        traceback.print_exc()
        os._exit(1)


def unshare(flags):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        reason = os.strerror(ctypes.get_errno())
        sys.exit(f"lab: cannot create namespaces ({reason}): run it as root")


def exit_at_end_of(descriptor):
    while os.read(descriptor, 4096):
        pass
    os._exit(0)


class Lab:
    def __init__(self, directory):
        self.directory = directory
        self.memory = directory / "memory"
        self.last_settings = {}
        self.hosts = {}  # address -> (entry in lab.json, Machine)
        self.machines = set()

    def serve(self, pid):
        self.isolate()
        self.debs = self.find_debs()
        self.packages = package_index(self.debs)
        # Import moto only now: the imports take a second, and the errors above
        # should appear first.
        from cloud import Cloud

        ThreadingHTTPServer.request_queue_size = 100
        check_ip = ThreadingHTTPServer(("127.0.0.1", 5001), CheckIp)
        start(check_ip.serve_forever)
        cloud = Cloud(self)
        start(cloud.listen("127.0.0.1", 5000).serve_forever)
        changed = self.settings("host_keys") == "changed"
        self.follow_hosts()

        answer = os.dup(1)
        log = os.open(self.directory / "lab.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        ready = {
            "pid": pid,
            "endpoint": "http://127.0.0.1:5000",
            "checkip": "http://127.0.0.1:5001/",
        }
        os.write(answer, (json.dumps(ready) + "\n").encode())
        os.close(answer)
        start(self.follow_settings, changed)
        exit_at_end_of(0)

    def isolate(self):
        unshare(CLONE_NEWNS)
        run("mount", "--make-rprivate", "/")
        run("mount", "-t", "proc", "proc", "/proc")
        # Everything that machines write. It disappears with this process.
        self.memory.mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", self.memory)
        run("ip", "link", "set", "lo", "up")
        run("ip", "address", "add", f"{CLIENT}/32", "dev", "lo")
        # An address without a machine refuses connections at once.
        run("ip", "route", "add", "local", PUBLIC_RANGE, "dev", "lo", "table", "local")
        # One address without a route, and one at which all packets are lost.
        run("ip", "route", "add", "unreachable", "192.0.2.98")
        run("ip", "link", "add", "lost", "type", "veth", "peer", "name", "nowhere")
        for end in ("lost", "nowhere"):
            run("ip", "link", "set", end, "arp", "off", "up")
        run("ip", "route", "add", "192.0.2.97", "dev", "lost", "src", CLIENT)
        # Packets between machines are routed through the lab.
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")

    @staticmethod
    def find_debs():
        fetched = HERE.parents[1] / "target" / "lab-debs"
        return fetched if fetched.is_dir() else Path("/var/cache/apt/archives")

    def settings(self, key):
        """Reads a setting from the current lab.json. Ignores a half-written file."""
        try:
            self.last_settings = json.loads((self.directory / "lab.json").read_text())
        except FileNotFoundError:
            self.last_settings = {}
        except ValueError:
            pass
        return self.last_settings.get(key, DEFAULTS[key])

    def follow_settings(self, changed):
        while True:
            time.sleep(0.1)
            try:
                self.follow_hosts()
                before, changed = changed, self.settings("host_keys") == "changed"
                if changed and not before:
                    for machine in list(self.machines):
                        machine.change_host_keys()
            except Exception:
                traceback.print_exc()

    def follow_hosts(self):
        """Starts and ends machines so that they match `hosts` in lab.json."""
        wanted = {host["address"]: host for host in self.settings("hosts")}
        for address, (entry, machine) in list(self.hosts.items()):
            if wanted.get(address) != entry:
                del self.hosts[address]
                self.discard(machine)
        booting = []
        for address, entry in wanted.items():
            if address not in self.hosts:
                machine = Machine(
                    self,
                    address,
                    "host-" + address.replace(".", "-"),
                    entry["user"],
                    [entry["authorized_key"]],
                    small_disk=entry.get("small_disk", False),
                )
                self.hosts[address] = (entry, machine)
                self.machines.add(machine)
                arguments = (address, None, entry.get("drop_after_bytes"))
                booting.append(threading.Thread(target=machine.boot, args=arguments))
        for thread in booting:
            thread.start()
        for thread in booting:
            thread.join()

    def discard(self, machine):
        self.machines.discard(machine)
        machine.remove()


class CheckIp(BaseHTTPRequestHandler):
    """Returns the caller's public address, like checkip.amazonaws.com."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"{CLIENT}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    main()
