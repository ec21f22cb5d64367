"""ssh servers that misbehave, on loopback.

Plain sockets play the part before the login. After the login, asyncssh is the server,
and a trick can take over the login, the channel or the command.
"""

import asyncio
import os
import re
import struct

import asyncssh
from asyncssh.process import SSHServerProcess

BANNER = b"SSH-2.0-OpenSSH_9.2\r\n"
IGNORE, UNIMPLEMENTED, DEBUG, KEXINIT, NEWKEYS = 2, 3, 4, 20, 21


def packet(kind, payload=b""):
    """Returns an unencrypted packet, as sent before the first key exchange."""
    body = bytes([kind]) + payload
    padding = 8 - (len(body) + 5) % 8
    padding += 8 if padding < 4 else 0
    return struct.pack(">IB", len(body) + padding + 1, padding) + body + bytes(padding)


def string(data):
    return struct.pack(">I", len(data)) + data


def kexinit():
    lists = [
        b"curve25519-sha256",
        b"ssh-ed25519",
        b"aes128-ctr",
        b"aes128-ctr",
        b"hmac-sha2-256",
        b"hmac-sha2-256",
        b"none",
        b"none",
        b"",
        b"",
    ]
    return packet(KEXINIT, bytes(16) + b"".join(map(string, lists)) + b"\0" + bytes(4))


async def forever():
    await asyncio.Event().wait()


async def flood(writer, piece):
    """Sends as fast as the other side reads."""
    piece *= max(1, 65536 // len(piece))
    while True:
        writer.write(piece)
        await writer.drain()


async def drip(writer, pieces, seconds):
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(seconds)


def sending(*pieces):
    """Sends these pieces, then nothing more."""

    async def play(reader, writer):
        for piece in pieces:
            writer.write(piece)
        await writer.drain()
        await forever()

    return play


def endless(piece, *before):
    async def play(reader, writer):
        for each in before:
            writer.write(each)
        await flood(writer, piece)

    return play


def slow(data, seconds, *before):
    """Sends one piece at a time, and starts again from the beginning."""

    async def play(reader, writer):
        for each in before:
            writer.write(each)
        while True:
            await drip(writer, data, seconds)

    return play


def closing(*pieces):
    async def play(reader, writer):
        for piece in pieces:
            writer.write(piece)
        await writer.drain()
        writer.close()

    return play


def bytes_of(data):
    return [data[i : i + 1] for i in range(len(data))]


# Before the login: what a plain socket sends.
BEFORE_LOGIN = {
    "silence": sending(),
    "lines without end": endless(b"Welcome to this machine.\r\n"),
    "lines without end, slowly": slow([b"Welcome.\r\n"], 0.2),
    "empty lines without end": endless(b"\r\n"),
    "a line without end": endless(b"x"),
    "a line without end, slowly": slow([b"x"], 0.2),
    "a banner byte by byte": slow(bytes_of(BANNER[:-2]), 1),
    "garbage": endless(bytes(range(1, 256))),
    "zeros": endless(b"\0"),
    "http": closing(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
    "ssh 1": sending(b"SSH-1.5-OpenSSH_2.0\r\n"),
    "a banner of 8 KiB": sending(b"SSH-2.0-" + b"x" * 8192 + b"\r\n"),
    "a banner, then silence": sending(BANNER),
    "a banner, then the end": closing(BANNER),
    "banners without end": endless(BANNER),
    "a huge packet": endless(b"x", BANNER, b"\xff\xff\xff\xff\x04"),
    "a large packet": endless(b"x", BANNER, b"\x7f\xff\xff\xff\x04"),
    "a packet of no length": sending(BANNER, bytes(64)),
    "a packet of all padding": sending(BANNER, struct.pack(">IB", 12, 255) + bytes(64)),
    "half a key exchange": closing(BANNER, kexinit()[:50]),
    "a key exchange that stops": sending(BANNER, kexinit()),
    "a key exchange byte by byte": slow(bytes_of(kexinit()), 0.5, BANNER),
    "a key exchange again and again": endless(kexinit(), BANNER),
    "ignored packets without end": endless(packet(IGNORE, string(b"x" * 100)), BANNER, kexinit()),
    "small ignored packets without end": endless(packet(IGNORE), BANNER, kexinit()),
    "debug messages without end": endless(
        packet(DEBUG, b"\1" + string(b"x") + string(b"")), BANNER, kexinit()
    ),
    "unimplemented without end": endless(packet(UNIMPLEMENTED, bytes(4)), BANNER, kexinit()),
    "logins without end": endless(packet(52), BANNER, kexinit()),
    "channel data without end": endless(
        packet(94, bytes(4) + string(b"x" * 100)), BANNER, kexinit()
    ),
    "unknown packets without end": endless(packet(99, b"x" * 200), BANNER, kexinit()),
    "ignored packets, slowly": slow([packet(IGNORE, string(b"x"))], 0.2, BANNER, kexinit()),
    "an answer of garbage": sending(BANNER, kexinit(), packet(31, os.urandom(300))),
    "an answer of huge strings": sending(BANNER, kexinit(), packet(31, b"\xff\xff\xff\xff" * 20)),
    "new keys at once": sending(BANNER, kexinit(), packet(NEWKEYS)),
    "a goodbye": closing(BANNER, packet(1, struct.pack(">I", 2) + string(b"bye") + string(b""))),
}


# Tricks that are also tried in other ways.
HANGING = (
    "silence",
    "lines without end, slowly",
    "a key exchange that stops",
    "a banner, then silence",
)
ALSO = ("Ctrl-C", "jump host", "behind a jump host")


def trick_of(username):
    """Returns the trick of a user name, which has underscores in place of blanks, and a
    prefix if the trick is tried with Ctrl-C."""
    return username.replace("_", " ").removeprefix("Ctrl-C ")


class Trick(asyncssh.SSHServer):
    """A server for one connection. The user's name selects the trick."""

    def __init__(self, world):
        self.world = world

    def connection_made(self, conn):
        self.conn = conn

    async def begin_auth(self, username):
        play = AT_LOGIN.get(trick_of(username))
        if play:
            self.world.reached(username)
            await play(self.conn)
        return True

    def public_key_auth_supported(self):
        return True

    def validate_public_key(self, username, key):
        return trick_of(username) != "keyboard only"

    def kbdint_auth_supported(self):
        return True

    def get_kbdint_challenge(self, username, lang, submethods):
        return "again", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, username, responses):
        return "again", "", "", [("Password: ", False)]

    def connection_requested(self, host, port, orig_host, orig_port):
        return True

    def session_requested(self):
        name = self.conn.get_extra_info("username")
        if trick_of(name) == "a channel refused":
            return False
        if trick_of(name) == "a channel never opened":
            self.world.reached(name)
            return forever_session()
        return SSHServerProcess(self.world.command, None, 3, False)


async def forever_session():
    await forever()


def send(conn, kind, *parts):
    conn.send_packet(kind, *parts)


async def flood_packets(conn, kind, *parts):
    """Sends packets as fast as the other side reads them."""
    transport = conn._transport
    while not transport.is_closing():
        for _ in range(100):
            send(conn, kind, *parts)
        while transport.get_write_buffer_size() > 1 << 20 and not transport.is_closing():
            await asyncio.sleep(0.005)
        await asyncio.sleep(0)


def again(kind, *parts):
    async def play(conn):
        await flood_packets(conn, kind, *parts)

    return play


async def hang(conn):
    await forever()


async def partial(conn):
    while not conn._transport.is_closing():
        conn.send_packet(51, string(b"publickey"), b"\1")
        await asyncio.sleep(0.01)


async def banners(conn):
    while not conn._transport.is_closing():
        conn.send_packet(53, string(b"welcome\n" * 100), string(b""))
        await asyncio.sleep(0)


async def goodbye(conn):
    conn.disconnect(2, "bye")
    await forever()


async def drop(conn):
    conn.abort()
    await forever()


# During the login.
AT_LOGIN = {
    "a login never answered": hang,
    "half a login without end": partial,
    "login banners without end": banners,
    "ignored packets at the login": again(IGNORE, string(b"x" * 100)),
    "channel packets at the login": again(91, bytes(16)),
    "questions at the login": again(60, string(b"ssh-ed25519"), string(b"key")),
    "a goodbye at the login": goodbye,
    "the end at the login": drop,
}


def request(process, name, payload):
    """Sends a channel request, whatever the state of the channel."""
    channel = process.channel
    channel._conn.send_packet(
        98, struct.pack(">I", channel._send_chan), string(name), b"\0", payload
    )


def end(process, *, eof=True, close=True):
    number = struct.pack(">I", process.channel._send_chan)
    conn = process.channel._conn
    if eof:
        conn.send_packet(96, number)
    if close:
        conn.send_packet(97, number)


STATUS = b"exit-status"


async def no_status(process):
    end(process)


async def no_status_no_eof(process):
    end(process, eof=False)


async def status_late(process):
    end(process)
    await asyncio.sleep(0.5)
    request(process, STATUS, bytes(4))


async def status_half(process):
    request(process, STATUS, b"\0\0")
    end(process)


async def status_elsewhere(process):
    channel = process.channel
    channel._conn.send_packet(98, struct.pack(">I", 77), string(STATUS), b"\0", bytes(4))
    end(process)


async def dropped(process):
    process.stdout.write(b"done\n")
    process.channel._conn.abort()


async def eof_then_dropped(process):
    end(process, close=False)
    await asyncio.sleep(0.1)
    process.channel._conn.abort()


async def eof_only(process):
    end(process, close=False)
    await forever()


async def signal_only(process):
    request(process, b"exit-signal", string(b"KILL") + b"\0" + string(b"") + string(b""))
    end(process)


async def signal_odd(process):
    request(
        process, b"exit-signal", string(b"\x1b[2J\n" * 5000) + b"\0" + string(b"") + string(b"")
    )
    end(process)


async def signal_without_a_name(process):
    request(process, b"exit-signal", string(b"") + b"\0" + string(b"") + string(b""))
    end(process)


def with_status(number):
    async def play(process):
        request(process, STATUS, struct.pack(">I", number))
        end(process)

    return play


def output(piece, stream="stdout"):
    async def play(process):
        out = getattr(process, stream)
        while True:
            out.write(piece)
            await out.drain()

    return play


def packets(kind, *parts):
    async def play(process):
        await flood_packets(process.channel._conn, kind, *parts)

    return play


async def beyond_the_window(process):
    channel = process.channel
    data = struct.pack(">I", channel._send_chan) + string(b"x" * 30_000)
    await flood_packets(channel._conn, 94, data)


async def keys_again(process):
    conn = process.channel._conn
    while not conn._transport.is_closing():
        if not conn._kex:
            conn._send_kexinit()
        await asyncio.sleep(0.001)


async def hanging(process):
    await forever()


async def window_for_ever(process):
    number = struct.pack(">I", process.channel._send_chan)
    await flood_packets(process.channel._conn, 93, number + b"\xff\xff\xff\xff")


# During a command, which the server does not really run. The reports of the
# program are sent first, as if the command had begun.
AT_COMMAND = {
    "no status": no_status,
    "no status, no end": no_status_no_eof,
    "a status after the close": status_late,
    "half a status": status_half,
    "a status for another channel": status_elsewhere,
    "the connection drops": dropped,
    "the connection drops after the end": eof_then_dropped,
    "an end without a close": eof_only,
    "a signal without a name": signal_without_a_name,
    "a signal": signal_only,
    "a signal with an odd name": signal_odd,
    "status 256": with_status(256),
    "status 0": with_status(0),
    "status -1": with_status(0xFFFFFFFF),
    "output without end": output(b"x" * 30_000),
    "lines of output without end": output(b"y\n" * 5_000),
    "errors without end": output(b"x" * 30_000, "stderr"),
    "ignored packets": packets(IGNORE, string(b"x" * 100)),
    "small ignored packets": packets(IGNORE),
    "requests": packets(80, string(b"keepalive@openssh.com"), b"\1"),
    "unknown packets": packets(99, b"x" * 2),
    "answers to nothing": packets(51, string(b"publickey"), b"\0"),
    "data for another channel": packets(94, struct.pack(">I", 77), string(b"x" * 1000)),
    "data of no length": packets(94, struct.pack(">I", 0), string(b"")),
    "beyond the window": beyond_the_window,
    "new keys again and again": keys_again,
    "a command that hangs": hanging,
    "a window without end": window_for_ever,
}

# The same, but the server never reports that the command has started.
BEFORE_COMMAND = {
    "a preface without end": output(b"x" * 30_000, "stderr"),
    "lines of a preface without end": output(b"y\n" * 5_000, "stderr"),
    "no status at all": no_status,
    "status 0 at once": with_status(0),
}


async def pour(source, sink):
    """Copies a stream until its end, and closes the program's input."""
    try:
        while piece := await source.read(1 << 16):
            sink.write(piece)
            await sink.drain()
    except ConnectionError:
        pass
    if isinstance(sink, asyncio.StreamWriter):
        sink.close()


class World:
    """All servers of a run, with the states that they have reached."""

    def __init__(self, folder):
        self.folder = folder
        self.seen = {}
        self.ports = {}
        self.commands = {}

    def reached(self, trick):
        """Notes that the client has reached the state that the trick needs."""
        self.seen.setdefault(trick, asyncio.Event()).set()

    async def wait_for(self, trick):
        await self.seen.setdefault(trick, asyncio.Event()).wait()

    async def start(self, key):
        self.client_key = key
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        for name in [*BEFORE_LOGIN, *(f"{what}: {name}" for what in ALSO for name in HANGING)]:
            play = BEFORE_LOGIN[name.split(": ")[-1]]
            server = await asyncio.start_server(self.raw(name, play), "127.0.0.1", 0)
            self.ports[name] = server.sockets[0].getsockname()[1]
        server = await asyncssh.create_server(
            lambda: Trick(self),
            "127.0.0.1",
            0,
            server_host_keys=[self.host_key],
            encoding=None,
            login_timeout=0,
            rekey_bytes=1 << 40,
        )
        self.port = server.sockets[0].getsockname()[1]

    def raw(self, name, play):
        async def serve(reader, writer):
            self.reached(name)
            try:
                await play(reader, writer)
            except (ConnectionError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        return serve

    async def command(self, process):
        """Plays the trick instead of the command, or runs the command."""
        name = process.get_extra_info("username")
        user = trick_of(name)
        try:
            if user in BEFORE_COMMAND:
                self.reached(name)
                await BEFORE_COMMAND[user](process)
            elif user in AT_COMMAND:
                marker = await self.marker(process)
                process.stdout.write(marker + b".\n")
                process.stderr.write(marker + b"999999999:\n" + marker + b".\n")
                self.reached(name)
                await AT_COMMAND[user](process)
            else:
                await self.run_command(name, process)
        except (ConnectionError, asyncssh.Error, BrokenPipeError):
            pass

    @staticmethod
    async def marker(process):
        """Reads the program on standard input up to the marker of its reports."""
        program = b""
        while not (found := re.search(rb"autorun-%s %s.n' ([0-9a-f]{16}) ", program)):
            piece = await process.stdin.read(1 << 16)
            if not piece:
                raise ConnectionError("the program ended early")
            program += piece
        return b"autorun-" + found[1] + b" "

    async def run_command(self, name, process):
        """Runs the command, with the trick's programs before those of the
        system."""
        # The first command only checks what kind of file the path is.
        self.commands[name] = self.commands.get(name, 0) + 1
        if self.commands[name] == 2:
            self.reached(name)
        user = trick_of(name)
        environment = {
            "PATH": f"{self.folder}/tricks/{user}:/usr/bin:/bin",
            "HOME": f"{self.folder}/remote",
            "SHELL": "/bin/sh",
        }
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            process.command,
            cwd=f"{self.folder}/remote",
            env=environment,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            # The program may kill its process group.
            start_new_session=True,
        )
        taking = asyncio.create_task(pour(process.stdin, child.stdin))
        await asyncio.gather(pour(child.stdout, process.stdout), pour(child.stderr, process.stderr))
        status = await child.wait()
        taking.cancel()
        if user.endswith("no status"):
            end(process)
        elif status < 0:
            process.exit_with_signal("TERM")
        else:
            process.exit(status)
