"""Machines: the host's files with a separate user, sshd and address, until the machine
is killed."""

import base64
import contextlib
import hashlib
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from email import message_from_bytes
from gzip import decompress
from pathlib import Path
from subprocess import PIPE

HERE = Path(__file__).resolve().parent
# The address of the lab as seen from a machine, which the check-ip service also returns.
CLIENT = "203.0.113.7"
KEY_TYPES = ("ed25519", "ecdsa")


def run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


class Machine:
    """One machine. `address` can change between two boots, while the files stay."""

    numbers = iter(range(1, 1 << 20))

    def __init__(self, lab, name, hostname, user, authorized_keys, small_disk=False):
        self.lab = lab
        self.name = name
        self.hostname = hostname
        self.user = user
        self.small_disk = small_disk
        self.files = lab.memory / name
        self.log = lab.directory / "machines" / name
        self.process = None
        self.relay = None
        self.booted = None
        self.lock = threading.Lock()
        self._stage(authorized_keys)

    def _stage(self, authorized_keys):
        for part in ("upper", "work", "root"):
            (self.files / part).mkdir(parents=True)
        self.log.mkdir(parents=True, exist_ok=True)
        shutil.copytree(HERE / "root", self.files / "upper", dirs_exist_ok=True)
        for directory, _, _ in os.walk(self.files / "upper"):
            os.chmod(directory, 0o755)  # independent of the checkout's umask
        # Hide the host's private files: these directories start empty.
        for directory, mode in (("root", 0o700), ("home", 0o755)):
            path = self.files / "upper" / directory
            path.mkdir(mode=mode)
            os.setxattr(path, "trusted.overlay.opaque", b"y")
        self.write("etc/hostname", self.hostname + "\n")
        self.write("etc/hosts", f"127.0.0.1 localhost {self.hostname}\n::1 localhost\n")
        self.write("etc/resolv.conf", "")
        keys = "".join(key.strip() + "\n" for key in authorized_keys)
        self.write("var/lib/lab/authorized_keys", keys)
        for name, text in self.lab.packages.items():
            self.write(f"var/lib/lab/{name}", text)
        (self.files / "upper/var/lib/lab/debs").mkdir()
        self.new_host_keys()

    def write(self, path, text, mode=0o644):
        target = self.files / "upper" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())
        target.chmod(mode)

    def new_host_keys(self):
        self.keys = make_keys(self.files / "keys", f"root@{self.hostname}")
        for kind, (private, public) in self.keys.items():
            self.write(f"etc/ssh/ssh_host_{kind}_key", private, 0o600)
            self.write(f"etc/ssh/ssh_host_{kind}_key.pub", public)

    def remove_cloud_init(self):
        # A character device 0:0 in the upper directory hides the host's cloud-init as
        # well.
        path = self.files / "upper/usr/bin/cloud-init"
        path.unlink()
        os.mknod(path, 0o20000, 0)

    def set_user_data(self, data):
        script = script_in(data)
        if script:
            self.write("var/lib/cloud/instance/scripts/part-001", script, 0o700)

    def boot(self, address, result=None, relay_after=None):
        """Boots the machine. Returns when sshd listens. Only then does host_key.pub
        appear."""
        with self.lock:
            # A new number for each boot: the last boot's interface may not have vanished
            # yet.
            self.number = next(self.numbers)
            inner = address
            if relay_after is not None:
                # The relay has the machine's address, and the machine itself has an
                # internal one.
                inner = f"10.254.{self.number >> 8}.{self.number & 255}"
            self._start(inner, result)
            if relay_after is not None:
                run("ip", "route", "replace", "local", address, "dev", "lo", "table", "local")
                self.relay = Relay(address, inner, relay_after)
            self._wait_for_sshd()
            self.booted = time.monotonic()
            self.publish_keys()

    def _start(self, address, result):
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LAB_ADDRESS": address,
            "LAB_CLIENT": CLIENT,
            "LAB_USER": self.user,
            "LAB_RESULT": result or "",
            "LAB_SMALL_DISK": "yes" if self.small_disk else "no",
        }
        with open(self.log / "console.log", "ab") as console:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--net", "--uts", "--ipc", "--propagation", "private"]
                + [HERE / "boot.sh", self.files, self.log, self.lab.debs, self.hostname],
                stdin=PIPE,
                stdout=PIPE,
                stderr=console,
                env=environment,
                start_new_session=True,
            )
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{self.name} did not boot: see {self.log}/console.log")
        port = f"machine{self.number}"
        peer = ["peer", "name", "eth0", "netns", str(self.process.pid)]
        run("ip", "link", "add", port, "type", "veth", *peer)
        run("ip", "link", "set", port, "up")
        # Use the table `local`, which the kernel searches first and in which the whole
        # range of public addresses ends at this host.
        route = [address, "dev", port, "src", CLIENT, "table", "local"]
        run("ip", "route", "replace", *route)
        self.process.stdin.write(b"go\n")
        self.process.stdin.close()

    def _wait_for_sshd(self):
        # Ask the kernel: a test connection would appear in sshd's log.
        table = f"/proc/{self.process.pid}/net/tcp"
        while True:
            with open(table) as sockets:
                if any(s.split()[1].endswith(":0016") and s.split()[3] == "0A" for s in sockets):
                    return
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended: see {self.log}/console.log")
            time.sleep(0.01)

    def publish_keys(self):
        self.boot_keys = dict(self.keys)
        for kind, name in (("ecdsa", "host_key_ecdsa.pub"), ("ed25519", "host_key.pub")):
            (self.log / (name + ".new")).write_bytes(self.keys[kind][1])
            os.replace(self.log / (name + ".new"), self.log / name)

    def change_host_keys(self):
        """Restarts sshd with new keys. The console still shows the keys of the boot."""
        with self.lock:
            if not self.process or self.process.poll() is not None:
                return
            shown = self.boot_keys
            pid = self.process.pid
            self.keys = make_keys(self.files / "keys", f"root@{self.hostname}")
            for kind, pair in self.keys.items():
                for suffix, key in zip(("", ".pub"), pair):
                    # Overwrite the file in place: the upper directory of a mounted
                    # overlay must not be changed.
                    inside = f"/proc/{pid}/root/etc/ssh/ssh_host_{kind}_key{suffix}"
                    with open(inside, "wb") as file:
                        file.write(key)
            inner = f"--pid=/proc/{pid}/ns/pid_for_children"
            reload = "kill -HUP $(cat /run/sshd.pid)"
            run("nsenter", f"--target={pid}", "--mount", inner, "sh", "-c", reload)
            self.publish_keys()
            self.boot_keys = shown

    def console(self, mode, after):
        """Returns the output of GetConsoleOutput, in the format of cloud-init."""
        booted = self.booted
        if mode == "none" or booted is None or time.monotonic() - booted < after:
            return ""
        keys = self.boot_keys
        if mode == "wrong":
            keys = self.wrong_keys = getattr(self, "wrong_keys", None) or make_keys(
                self.files / "wrong", f"root@{self.hostname}"
            )
        lines = [
            "[    0.000000] Linux version 6.1.0 (a machine of the lab)",
            "[    4.312875] cloud-init[1520]: Cloud-init v. 22.2.2 running 'modules:final'",
            "ci-info: no authorized SSH keys fingerprints found for user root.",
            "ec2: ",
            "ec2: " + "#" * 61,
            "ec2: -----BEGIN SSH HOST KEY FINGERPRINTS-----",
        ]
        if mode == "ecdsa":
            keys = {"ecdsa": keys["ecdsa"]}
        prints = {} if mode == "keys" else keys
        for kind, (_, public) in prints.items():
            comment = public.split()[2].decode()
            lines.append(f"ec2: 256 {fingerprint(public)} {comment} ({kind.upper()})")
        lines += [
            "ec2: -----END SSH HOST KEY FINGERPRINTS-----",
            "ec2: " + "#" * 61,
            "-----BEGIN SSH HOST KEY KEYS-----",
            *(public.decode().strip() for _, public in keys.values()),
            "-----END SSH HOST KEY KEYS-----",
        ]
        return "\r\n".join(lines) + "\r\n" + self.user_data_output()

    def user_data_output(self):
        try:
            log = f"/proc/{self.process.pid}/root/var/log/cloud-init-output.log"
            with open(log, errors="replace") as file:
                return file.read()[-40000:]
        except OSError:
            return ""

    def kill(self):
        with self.lock:
            self.booted = None
            (self.log / "host_key.pub").unlink(missing_ok=True)
            if self.process:
                self.process.kill()  # this also ends the machine's first process
                self.process.wait()
            if self.relay:
                self.relay.close()

    def remove(self):
        self.kill()
        shutil.rmtree(self.files, ignore_errors=True)


class Relay:
    """A TCP relay that resets each connection after a number of bytes from the client."""

    def __init__(self, address, inner, limit):
        self.inner, self.limit = inner, limit
        self.server = socket.create_server((address, 22), backlog=100)
        start(self._accept)

    def close(self):
        self.server.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self.server.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:  # closed
                return
            start(self._serve, client)

    def _serve(self, client):
        try:
            upstream = socket.create_connection((self.inner, 22))
        except OSError:
            client.close()
            return
        start(self._back, upstream, client)
        left = self.limit
        try:
            while left > 0:
                data = client.recv(min(left, 65536))
                if not data:
                    upstream.shutdown(socket.SHUT_WR)
                    return
                upstream.sendall(data)
                left -= len(data)
        except OSError:
            pass
        # Shut down the socket, because the thread that reads from upstream keeps it
        # open.
        with contextlib.suppress(OSError):
            upstream.shutdown(socket.SHUT_RDWR)
        # Without lingering, the client receives a reset, as from a broken network.
        for end in (client, upstream):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()

    @staticmethod
    def _back(upstream, client):
        try:
            while data := upstream.recv(65536):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def start(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()


def make_keys(directory, comment):
    """Creates new host keys. Returns kind -> (private, public)."""
    directory.mkdir(exist_ok=True)
    keys = {}
    for kind in KEY_TYPES:
        file = directory / kind
        file.unlink(missing_ok=True)
        run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", file)
        keys[kind] = (file.read_bytes(), file.with_suffix(".pub").read_bytes())
    return keys


def fingerprint(public):
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def script_in(data):
    """Returns the shell script in the user data as cloud-init would find it, or None."""
    if data.startswith(b"\x1f\x8b"):
        data = decompress(data)
    if data.startswith((b"Content-Type: multipart", b"MIME-Version:")):
        for part in message_from_bytes(data).walk():
            if part.get_content_type() == "text/x-shellscript":
                return part.get_payload(decode=True)
        return None
    return data if data.startswith(b"#!") else None


def package_index(debs):
    """Returns the index files that turn a directory of .deb files into a repository:
    name -> text."""
    entries = []
    for deb in sorted(debs.glob("*.deb")):
        fields = subprocess.run(["dpkg-deb", "-f", deb], check=True, stdout=PIPE, text=True)
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        entries.append(
            f"{fields.stdout.strip()}\nFilename: ./debs/{deb.name}\n"
            f"Size: {deb.stat().st_size}\nSHA256: {digest}\n\n"
        )
    packages = "".join(entries).encode()
    digest = hashlib.sha256(packages).hexdigest()
    # Without a Release file, apt would look for every kind of compressed index.
    date = "Thu, 01 Jan 2026 00:00:00 UTC"
    release = f"Suite: lab\nDate: {date}\nSHA256:\n {digest} {len(packages)} Packages\n"
    return {"Packages": packages, "Release": release}
