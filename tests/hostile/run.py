#!/usr/bin/env python3
"""Tries what a hostile or broken host can do to `autorun`.

    python tests/hostile/run.py AUTORUN_BINARY [PART OF A TRICK'S NAME]

Needs asyncssh (tests/lab/requirements.txt), but neither root nor a network except
loopback. Every trick must end with the right error, in time, with little CPU time and
memory, and must change nothing but its target. Prints how many tricks were tried and how
many were refused, and exits with 1 if the two differ.
"""

import asyncio
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

import hosts
import streams

# A login may take 15 s in total. The rest is for a busy machine.
LOGIN, SLACK = 15, 8
MOST_CPU, MOST_MEMORY = 6.0, 300
# After Ctrl-C: one second for autorun itself, and some time for a busy
# machine.
INTERRUPTED = 5.0
# The number of runs that start at once. Runs that wait for a host do not
# count.
STARTING = 6


@dataclass
class Trick:
    """One call, and its expected end."""

    name: str
    call: str
    # The kind of the error, or `done`.
    ends: tuple
    user: str = "honest"
    port: int = 0
    seconds: float = LOGIN + SLACK
    # Text that the message must contain.
    must_contain: str = ""
    # Whether to send SIGINT once the host is in the state that the trick
    # needs.
    interrupt: bool = False
    # The expected contents of the target at the end. None: the target must not
    # exist.
    holds: dict | None = None
    honest: bool = False
    faults: list = field(default_factory=list)

    # The host's name for the state that the trick needs.
    state: str = ""

    def __post_init__(self):
        self.state = self.state or (self.name if self.port else self.user.replace(" ", "_"))

    @property
    def limit(self):
        return INTERRUPTED if self.interrupt else self.seconds


PLAYBOOK = """
let at = #{ user: "%(user)s", port: %(port)d, host_key: "%(print)s", key: "%(key)s" };
let remote = host("127.0.0.1", at);
try { %(call)s; print("done"); }
catch (caught) { let e = error_info(caught); print(`${e.kind}: ${e.message}`); }
"""


def snapshot(folder):
    """Returns all files below a directory: kind, mode and contents."""
    seen = {}
    for path in sorted([folder, *folder.rglob("*")]):
        about = path.lstat()
        what = (
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        )
        seen[str(path.relative_to(folder))] = (oct(about.st_mode), what)
    return seen


class Box:
    """A home, a directory for the copies, and files that must not change."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("data", "home/.ssh", "outside/victims", "here"):
            (folder / name).mkdir(parents=True)
        (folder / "outside/victim").write_text("mine\n")
        (folder / "outside").chmod(0o750)
        self.before = snapshot(folder)

    def changes(self):
        """Returns what has changed, except the ledger and the target."""
        after = snapshot(self.folder)
        own = ("data", "home/.local", "playbook.rhai", "here/target")
        return [
            name
            for name in sorted(self.before.keys() | after.keys())
            if self.before.get(name) != after.get(name)
            and not any(name == part or name.startswith(part + "/") for part in own)
        ]


class Run:
    def __init__(self, binary, folder):
        self.binary, self.folder = binary, Path(folder)
        self.world = hosts.World(folder)
        self.starting = asyncio.Semaphore(STARTING)

    async def prepare(self):
        (self.folder / "remote").mkdir()
        self.key = self.folder / "id_ed25519"
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(self.key)
        self.key.chmod(0o600)
        await self.world.start(key)
        self.print = self.world.host_key.get_fingerprint()

    def program(self, user, name, text):
        """Installs a program with this name on the host of this user."""
        folder = self.folder / "tricks" / user
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("#!/bin/sh\n" + text)
        (folder / name).chmod(0o755)

    def sends(self, user, stream, status=0):
        """Lets the host of this user send this stream for any directory."""
        (self.folder / "remote" / "asked").mkdir(exist_ok=True)
        self.program(
            user,
            "tar",
            f'[ "$1" = --version ] && exec echo "tar (GNU tar)"\ncat "{self.folder}/tricks/{user}/stream"; exit {status}\n',
        )
        (self.folder / "tricks" / user / "stream").write_bytes(stream)

    async def try_one(self, trick):
        await self.starting.acquire()
        box = Box(Path(tempfile.mkdtemp(dir=self.folder, prefix="box-")))
        await self.call(trick, box)
        for path in box.folder.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(box.folder)
        return trick

    async def call(self, trick, box):
        text = PLAYBOOK % {
            "user": trick.user.replace(" ", "_"),
            "port": trick.port or self.world.port,
            "print": self.print,
            "key": self.key,
            "call": trick.call.replace("TARGET", f"{box.folder}/here/target").replace(
                "BOX", str(box.folder)
            ),
        }
        (box.folder / "playbook.rhai").write_text(text.replace("FOLDER", str(self.folder)))
        child = await asyncio.create_subprocess_exec(
            self.binary,
            box.folder / "playbook.rhai",
            cwd=box.folder / "home",
            env={
                "HOME": f"{box.folder}/home",
                "AUTORUN_HOME": f"{box.folder}/data",
                "USER": "me",
                "PATH": "/usr/bin:/bin",
                "AWS_EC2_METADATA_DISABLED": "true",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        usage = asyncio.create_task(watch(child.pid))
        talking = asyncio.create_task(child.communicate())
        in_state = asyncio.create_task(self.world.wait_for(trick.state))
        await asyncio.wait({talking, in_state}, return_when=asyncio.FIRST_COMPLETED)
        in_state.cancel()
        self.starting.release()
        began = time.monotonic()
        if trick.interrupt and not talking.done():
            # The client sees the state a little after the server has caused
            # it.
            await asyncio.sleep(0.3)
            began = time.monotonic()
            try:
                child.send_signal(signal.SIGINT)
            except ProcessLookupError:
                # The run has already ended. `judge` checks whether that is
                # right.
                pass
        await asyncio.wait({talking}, timeout=trick.limit + SLACK)
        if not talking.done():
            child.kill()
            trick.faults.append("it did not end")
        took = time.monotonic() - began
        out, err = [text.decode(errors="replace") for text in await talking]
        usage.cancel()
        self.judge(trick, box, child.returncode, out, err, took, usage.seen)

    def judge(self, trick, box, status, out, err, took, used):
        fault = trick.faults.append
        cpu, memory = used
        last_line = out.strip().splitlines()[-1] if out.strip() else ""
        kind = "cancelled" if status == 130 else last_line.split(":")[0]
        if kind not in trick.ends:
            fault(f"ended as `{last_line}` ({status}), not {'/'.join(trick.ends)}\n{err[-600:]}")
        if trick.must_contain not in last_line:
            fault(f"printed `{last_line}`, without `{trick.must_contain}`")
        if took > trick.limit:
            fault(f"took {took:.1f} s, not {trick.limit:.1f}")
        if cpu > MOST_CPU:
            fault(f"took {cpu:.1f} s of CPU")
        if memory > MOST_MEMORY:
            fault(f"took {memory} MB of memory")
        if "panicked" in err:
            fault(f"it panicked: {err[-600:]}")
        for letter in ("\x1b[2J", "\x07"):
            if letter in out + err:
                fault("a control character reached the terminal")
        for change in box.changes():
            fault(f"`{change}` changed")
        target = box.folder / "here/target"
        if trick.holds is None:
            if target.exists() or target.is_symlink():
                fault("the target exists")
        else:
            found = (
                {name: value for name, value in snapshot(target).items() if name != "."}
                if target.is_dir()
                else snapshot_of_file(target)
            )
            if found != trick.holds:
                fault(f"the target holds {found}, not {trick.holds}")


def snapshot_of_file(path):
    if not path.exists():
        return {}
    return {"": (oct(path.lstat().st_mode), path.read_bytes())}


async def watch(pid):
    """Records the CPU seconds and the peak memory in MB of a process until it
    ends."""
    task, ticks = asyncio.current_task(), os.sysconf("SC_CLK_TCK")
    task.seen = (0.0, 0)
    while True:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            status = Path(f"/proc/{pid}/status").read_text()
            peak = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
            if peak:
                task.seen = ((int(fields[11]) + int(fields[12])) / ticks, int(peak[0]) // 1024)
        except (FileNotFoundError, ProcessLookupError):
            return
        await asyncio.sleep(0.1)


def before_login(world):
    for name in hosts.BEFORE_LOGIN:
        yield Trick(name, 'ssh_exec(remote, "true")', ("unreachable",), port=world.ports[name])
    for name in hosts.HANGING:
        trick = f"jump host: {name}"
        call = 'ssh_exec(host("192.0.2.1", #{ via: remote, user: "x" }), "true")'
        yield Trick(trick, call, ("unreachable", "timeout"), port=world.ports[trick])
        trick = f"behind a jump host: {name}"
        call = f'ssh_exec(host("127.0.0.1", #{{ via: remote, user: "x", port: {world.ports[trick]} }}), "true")'
        yield Trick(trick, call, ("unreachable", "timeout"), state=trick)
        trick = f"Ctrl-C: {name}"
        yield Trick(
            trick,
            'ssh_exec(remote, "true")',
            ("cancelled",),
            port=world.ports[trick],
            interrupt=True,
        )


def at_login():
    for name in hosts.AT_LOGIN:
        yield Trick(name, 'ssh_exec(remote, "true")', ("unreachable", "denied"), user=name)
    yield Trick("keyboard only", 'ssh_exec(remote, "true")', ("denied",), user="keyboard only")
    yield Trick(
        "a channel refused", 'ssh_exec(remote, "true")', ("unreachable",), user="a channel refused"
    )
    name = "a channel never opened"
    yield Trick(name, 'ssh_exec(remote, "true")', ("unreachable",), user=name)
    for name in ("a login never answered", "a channel never opened"):
        yield Trick(
            f"Ctrl-C: {name}",
            'ssh_exec(remote, "true")',
            ("cancelled",),
            user=f"Ctrl-C {name}",
            interrupt=True,
        )


def at_command():
    for name in (
        "no status",
        "no status, no end",
        "a status after the close",
        "half a status",
        "a status for another channel",
        "the connection drops",
        "the connection drops after the end",
        "a signal without a name",
    ):
        yield Trick(
            name, 'ssh_exec(remote, "true")', ("unreachable",), user=name, must_contain="may still run"
        )
    for name in ("a signal", "a signal with an odd name", "status 256", "status -1"):
        yield Trick(name, 'ssh_exec(remote, "true")', ("command_failed",), user=name)
    quiet = ("an end without a close", "a command that hangs", "new keys again and again")
    loud = (
        "output without end",
        "lines of output without end",
        "errors without end",
        "ignored packets",
        "small ignored packets",
        "requests",
        "unknown packets",
        "answers to nothing",
        "data for another channel",
        "data of no length",
        "beyond the window",
        "a window without end",
    )
    for name in quiet + loud:
        call = 'ssh_exec(remote, "true", #{ timeout: 2 })'
        yield Trick(name, call, ("timeout", "unreachable"), user=name, seconds=2 + SLACK)
    for name in (
        "a command that hangs",
        "an end without a close",
        "output without end",
        "ignored packets",
        "new keys again and again",
    ):
        yield Trick(
            f"Ctrl-C: {name}",
            'ssh_exec(remote, "true")',
            ("cancelled", "unreachable"),
            user=f"Ctrl-C {name}",
            interrupt=True,
        )
    for name in hosts.BEFORE_COMMAND:
        call = 'ssh_exec(remote, "true", #{ timeout: 2 })'
        yield Trick(name, call, ("timeout", "unreachable", "denied"), user=name, seconds=2 + SLACK)


def copies(run):
    """Copies directories and files from the host."""
    outside = "/nonexistent"
    directory = 'scp_from(remote, "asked/", "TARGET")'
    for name, stream in streams.hostile(outside).items():
        run.sends(f"tar {name}".replace("/", " "), stream)
        yield Trick(
            f"tar: {name}", directory, ("command_failed",), user=f"tar {name}", seconds=SLACK
        )
    for name, stream in streams.left_out(outside).items():
        run.sends(f"left {name}", stream)
        mode = "0o100755" if name == "a setuid file" else "0o100644"
        holds = {"kept": (mode, b"data\n")}
        if "below" in name or "down" in name:
            holds["a"] = ("0o40755", "")
        if name == "a link down and up":
            holds["a/b"] = ("0o120777", "..")
        if name == "a directory through a link":
            holds["way"] = ("0o40711", "")
        if name == "a sticky directory":
            holds["a"] = ("0o40777", "")
        yield Trick(
            f"tar, left out: {name}",
            directory,
            ("done",),
            user=f"left {name}",
            seconds=SLACK,
            holds=holds,
        )
    run.sends("tar fails", streams.of(streams.file(b"x")), status=2)
    yield Trick(
        "tar: it fails at the end", directory, ("command_failed",), user="tar fails", seconds=SLACK
    )
    run.sends("tar no status", streams.of(streams.file(b"x")))
    yield Trick("tar: no status", directory, ("unreachable",), user="tar no status", seconds=SLACK)
    file = 'scp_from(remote, "asked/file", "TARGET")'
    for name, programs in {
        "more than announced": {"head": "head() { :; }; yes | /usr/bin/head -c 100000\n"},
        "more without end": {"head": "exec yes\n"},
        "less than announced": {"head": "printf ab\n"},
        "nothing": {"head": "exit 0\n"},
        "a size without end": {"wc": "echo 99999999999999999999999\n"},
        "a negative size": {"wc": "echo -5\n"},
        "a size of the largest number": {"wc": "echo 18446744073709551615\n"},
        "a size of letters": {"wc": "echo five\n"},
        "an odd mode": {"ls": "echo 'wwwwwwwwww 1 me me 5 file'\n"},
        "a mode of other letters": {"ls": "printf -- '-rw\\033[2Jxxxx 1'\n"},
        "no mode": {"ls": "echo\n"},
        "a mode of 10 MB": {"ls": "/usr/bin/head -c 10000000 /dev/zero | tr '\\0' x\n"},
    }.items():
        user = f"file {name}"
        for program, text in programs.items():
            run.program(user, program, text)
        yield Trick(f"file: {name}", file, ("command_failed", "timeout"), user=user, seconds=SLACK)
    yield Trick(
        "file: a directory instead",
        'scp_from(remote, "asked", "TARGET")',
        ("command_failed",),
        seconds=SLACK,
    )
    yield Trick(
        "file: a directory where a directory is",
        'scp_from(remote, "asked", "FOLDER/remote")',
        ("command_failed",),
        seconds=SLACK,
    )
    yield Trick(
        "directory: a file instead",
        'scp_from(remote, "asked/file/", "TARGET")',
        ("command_failed", "not_found"),
        seconds=SLACK,
    )
    yield Trick("file: no status", file, ("unreachable",), user="file no status", seconds=SLACK)
    for name, call in (("file", file), ("tar", directory)):
        user = f"{name} in the middle"
        run.program(user, "head", "printf a; sleep 60\n")
        run.program(
            user,
            "tar",
            '[ "$1" = --version ] && exec echo "tar (GNU tar)"\n/usr/bin/tar "$@" | { /usr/bin/head -c 700; sleep 60; }\n',
        )
        yield Trick(
            f"Ctrl-C: {name} in the middle", call, ("cancelled",), user=user, interrupt=True
        )
    run.program("file slow", "head", "printf a; sleep 60\n")
    run.program(
        "tar slow",
        "tar",
        '[ "$1" = --version ] && exec echo "tar (GNU tar)"\n/usr/bin/tar "$@" | { /usr/bin/head -c 700; sleep 60; }\n',
    )
    for name, call in (("file", file), ("tar", directory)):
        yield Trick(
            f"{name}: stops in the middle",
            call[:-1] + ", #{ timeout: 2 })",
            ("timeout",),
            user=f"{name} slow",
            seconds=2 + SLACK,
        )


def uploads():
    """Copies files to the host."""
    scp = 'scp(remote, "BOX/playbook.rhai", "copy"'
    for name in ("upload no status", "no status", "the connection drops"):
        yield Trick(f"upload: {name}", f"{scp})", ("unreachable",), user=name, seconds=SLACK)
    for name in ("a command that hangs", "output without end", "errors without end"):
        call = f"{scp}, #{{ timeout: 2 }})"
        # Output that is longer than a path ends the copy.
        ends = ("timeout", "command_failed")
        yield Trick(f"upload: {name}", call, ends, user=name, seconds=2 + SLACK)
    yield Trick("upload: status 0 for no file", f"{scp})", ("command_failed",), user="status 0")


def honest(run):
    """Checks that normal use still works, with the same servers."""
    yield Trick(
        "a status",
        'assert(ssh_exec(remote, "exit 3", #{ check: false }).status == 3)',
        ("done",),
        honest=True,
    )
    yield Trick(
        "much output",
        'assert(ssh_exec(remote, "yes $(printf %01000d 0) | head -c 5000000").stdout.len > 4000000)',
        ("done",),
        honest=True,
    )
    yield Trick(
        "many small packets",
        'ssh_exec(remote, "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done")',
        ("done",),
        honest=True,
    )
    yield Trick(
        "a file",
        'scp_from(remote, "asked/file", "TARGET")',
        ("done",),
        honest=True,
        holds={"": ("0o100640", b"hello\n")},
    )
    tree = {"file": ("0o100640", b"hello\n"), "up": ("0o120777", "file")}
    yield Trick(
        "a directory", 'scp_from(remote, "asked/", "TARGET")', ("done",), honest=True, holds=tree
    )
    for number, stream in enumerate(streams.honest()):
        run.sends(f"format {number}", stream)
        holds = {
            "sub": ("0o40755", ""),
            "sub/" + "n" * 90: ("0o100755", b"long\n"),
            "sub/up": ("0o120777", "../file"),
            "file": ("0o100755", b"x" * 1000),
            "second": ("0o100755", b"x" * 1000),
            "empty": ("0o100755", b""),
        }
        yield Trick(
            f"tar format {number}",
            'scp_from(remote, "asked/", "TARGET")',
            ("done",),
            user=f"format {number}",
            honest=True,
            holds=holds,
        )
    yield Trick(
        "through a jump host",
        f'ssh_exec(host("127.0.0.1", #{{ via: remote, port: {run.world.port}, host_key: "{run.print}", key: "{run.key}", user: "x" }}), "true")',
        ("done",),
        honest=True,
    )


async def main(binary, only):
    with tempfile.TemporaryDirectory(prefix="autorun-hostile-") as folder:
        run = Run(Path(binary).resolve(), folder)
        await run.prepare()
        asked = run.folder / "remote/asked"
        asked.mkdir()
        (asked / "file").write_text("hello\n")
        (asked / "file").chmod(0o640)
        (asked / "up").symlink_to("file")
        asked.chmod(0o755)
        makers = (
            before_login(run.world),
            at_login(),
            at_command(),
            copies(run),
            uploads(),
            honest(run),
        )
        tricks = [trick for maker in makers for trick in maker if only in trick.name]
        # Tricks that may take the longest start first.
        tricks.sort(key=lambda trick: -trick.seconds)
        done = await asyncio.gather(*(run.try_one(trick) for trick in tricks))
    for trick in done:
        for fault in trick.faults:
            print(f"{trick.name}: {fault}")
    bad = [trick for trick in done if not trick.honest]
    good = [trick for trick in done if trick.honest]
    held = lambda list: sum(not trick.faults for trick in list)  # noqa: E731
    print(
        f"{len(bad)} tricks tried, {held(bad)} refused; {len(good)} honest hosts, {held(good)} served"
    )
    return 0 if all(not trick.faults for trick in done) else 1


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    # Broken connections are expected here.
    logging.disable(logging.CRITICAL)
    code = asyncio.new_event_loop().run_until_complete(main(sys.argv[1], "".join(sys.argv[2:])))
    sys.stdout.flush()
    # Exit at once: servers that hang on purpose never end.
    os._exit(code)
