"""Rows of ssh: commands on many hosts, and copies.

An sshd in a network namespace of its own answers at all addresses of 127.0.0.0/8, so
one server stands for any number of hosts. `Near` takes the clients 50 ms away.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from speed_rows.near import Near
from speed_rows.table import ROOT, row

SSHD = """
Port 22
ListenAddress 0.0.0.0
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/key.pub
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
MaxStartups 4000
Subsystem sftp internal-sftp
"""

ASYNCSSH = """
import asyncio, asyncssh, sys
key, known, hosts = sys.argv[1], sys.argv[2], sys.argv[3:]
async def main():
    at_once = asyncio.Semaphore(64)
    trusted = asyncssh.read_known_hosts(known)
    keys = asyncssh.load_keypairs([key])
    async def one(host):
        async with at_once:
            to = asyncssh.connect(host, username="root", client_keys=keys, known_hosts=trusted,
                                  config=None, agent_path=None)
            async with to as connection:
                await connection.run("true", check=True)
    await asyncio.gather(*map(one, hosts))
asyncio.run(main())
"""

PARALLEL_SSH = """
import sys
from pssh.clients import ParallelSSHClient
client = ParallelSSHClient(sys.argv[3:], user="root", pkey=sys.argv[1], pool_size=64,
                           allow_agent=False, identity_auth=False)
client.join(client.run_command("true"))
"""


class Server:
    """An sshd in a network namespace, with a user whose key it accepts."""

    def __init__(self, bench, far=False):
        self.directory = bench.directory
        self.key = self.directory / "key"
        self.known = bench.home / ".ssh/known_hosts"
        for name in ("key", "host_key"):
            file = self.directory / name
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
        Path("/run/sshd").mkdir(exist_ok=True)
        config = self.directory / "sshd_config"
        config.write_text(SSHD.format(directory=self.directory))
        self.process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c",
             f"ip link set lo up && exec {shutil.which('sshd')} -D -e -f {config}"],
            stderr=open(self.directory / "sshd.log", "w"),
        )
        # The namespace in which the clients run.
        self.pid = self.process.pid
        self.far, self.near = far, None

    def __enter__(self):
        log = self.directory / "sshd.log"
        while "listening" not in log.read_text():
            if self.process.poll() is not None:
                sys.exit(f"sshd ended:\n{log.read_text()}")
            time.sleep(0.01)
        if self.far:
            self.near = Near(self.process.pid)
            self.pid = self.near.pid
        return self

    def __exit__(self, *_):
        if self.near:
            self.near.close()
        self.process.terminate()
        self.process.wait()

    def hosts(self, count):
        """Returns addresses of the server, all of them in known_hosts."""
        hosts = ["10.9.0.2"] if self.far else [f"127.0.{n // 250}.{n % 250 + 1}" for n in range(count)]
        key = " ".join((self.directory / "host_key.pub").read_text().split()[:2])
        self.known.write_text("".join(f"{host} {key}\n" for host in hosts))
        before = time.time() - 60
        os.utime(self.known, (before, before))
        return hosts

    def ssh(self, *options):
        return ["ssh", "-F", "none", "-i", self.key, "-o", f"UserKnownHostsFile={self.known}",
                "-o", "BatchMode=yes", *options]

    def host(self, address):
        """Returns a host as a playbook writes it."""
        return f'host("root@{address}", #{{ key: "{self.key}" }})'


def peers():
    """Returns the interpreter with the peers that are Python packages."""
    directory = ROOT / "target/speed-venv"
    python = directory / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
        wanted = ROOT / "tests/speed_rows/requirements.txt"
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", wanted], check=True)
    return python


@contextlib.contextmanager
def many(bench, count):
    python = peers()
    with Server(bench) as server:
        hosts = server.hosts(count)
        playbook = (
            f'let hosts = [];\nfor n in 0..{count} {{\n'
            f'    hosts.push(host("root@127.0." + n / 250 + "." + (n % 250 + 1), '
            f'#{{ key: "{server.key}" }}));\n}}\nssh_exec(hosts, "true");\n'
        )
        listed = bench.directory / "hosts"
        listed.write_text("\n".join(hosts))
        ssh = ["xargs", "-a", listed, "-P", "64", "-I", "{}", *server.ssh("-l", "root"), "{}", "true"]
        script = lambda text: [python, "-c", text, server.key, server.known, *hosts]
        run = lambda call: lambda: bench.run(call, server.pid)
        sides = bench.autoruns(playbook, server.pid)
        sides["asyncssh"] = run(script(ASYNCSSH))
        sides["parallel-ssh"] = run(script(PARALLEL_SSH))
        # Its memory is that of one ssh.
        sides["ssh, 64 processes"] = run(ssh)
        yield sides


@row("host", "one host, `true`")
@contextlib.contextmanager
def one_host(bench):
    with Server(bench) as server:
        [host] = server.hosts(1)
        sides = bench.autoruns(f'ssh_exec({server.host(host)}, "true");', server.pid)
        sides["ssh"] = lambda: bench.run([*server.ssh(), f"root@{host}", "true"], server.pid)
        yield sides


@row("hosts-100", "100 hosts, `true`")
def hosts_100(bench):
    return many(bench, 100)


@row("hosts-500", "500 hosts, `true`", runs=3)
def hosts_500(bench):
    return many(bench, 500)


@row("hosts-2000", "2,000 hosts, `true`", runs=1)
def hosts_2000(bench):
    return many(bench, 2000)


@contextlib.contextmanager
def one_file(bench, size, far=False):
    with Server(bench, far) as server, memory() as target:
        [host] = server.hosts(1)
        source = bench.directory / "source"
        with open(source, "wb") as file:
            for _ in range(size >> 20):
                file.write(os.urandom(1 << 20))
        source.chmod(0o640)
        copy = target / "copy"
        before = lambda: copy.unlink(missing_ok=True)
        text = f'scp({server.host(host)}, "{source}", "{copy}");'
        sides = bench.autoruns(text, server.pid, before=before)

        def peer(*command):
            def once():
                before()
                return bench.run(command, server.pid)

            return once

        gcm = ("-c", "aes128-gcm@openssh.com")
        cat = " ".join(map(str, server.ssh(*gcm)))
        sides["ssh cat, aes128-gcm"] = peer("sh", "-c", f"{cat} root@{host} 'cat >{copy}' <{source}")
        scp = ["scp", "-q", *server.ssh(*gcm)[1:], source, f"root@{host}:{copy}"]
        sides["scp, aes128-gcm"] = peer(*scp)
        yield sides


@row("file", "one file of 256 MiB over ssh")
def large_file(bench):
    return one_file(bench, 256 << 20)


@row("file-50ms", "one file of 64 MiB, 50 ms round trip")
def distant_file(bench):
    return one_file(bench, 64 << 20, far=True)


@contextlib.contextmanager
def many_files(bench, far=False):
    with Server(bench, far) as server, memory() as target:
        [host] = server.hosts(1)
        source = bench.directory / "source"
        for n in range(1000):
            file = source / f"{n % 10}" / f"{n}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(os.urandom(4096))
        copy = target / "copy"
        before = lambda: shutil.rmtree(copy, ignore_errors=True)
        text = f'scp({server.host(host)}, "{source}", "{copy}");'
        sides = bench.autoruns(text, server.pid, before=before)

        def peer(command):
            def once():
                before()
                return bench.run(["sh", "-c", command], server.pid)

            return once

        ssh = " ".join(map(str, server.ssh()))
        sides["rsync -a"] = peer(f"rsync -a -e '{ssh}' {source}/ root@{host}:{copy}/")
        unpack = f"mkdir {copy} && tar -xf - -C {copy}"
        sides["tar | ssh tar"] = peer(f"tar -cf - -C {source} . | {ssh} root@{host} '{unpack}'")
        yield sides


@row("files", "1,000 files of 4 KiB over ssh")
def small_files(bench):
    return many_files(bench)


@row("files-50ms", "1,000 files of 4 KiB over ssh, 50 ms round trip")
def distant_files(bench):
    return many_files(bench, far=True)


@contextlib.contextmanager
def memory():
    """A directory in memory: the disk is not what is measured."""
    target = Path("/dev/shm") / f"autorun-speed-{os.getpid()}"
    target.mkdir()
    try:
        yield target
    finally:
        shutil.rmtree(target)
