#!/usr/bin/env python3
"""Tries what a user of this machine without the access key can do to a local cloud.

    sudo tests/walls/local_user.py PROGRAM CLOUD_HOME INSTANCE_ADDRESS

CLOUD_HOME is the AUTORUN_CLOUD_HOME of a cloud that root started and that has a
running instance. PROGRAM is the autorun that started the cloud.

The attempts run as user 65534, some as user 1000. Meanwhile, root measures how
fast the owner of the key gets responses, and how much the log and the memory
grow. Each attempt prints one line, `refused NAME` or `GOT THROUGH NAME: HOW`.
The exit status is 1 if any attempt got through.
"""

import ctypes
import datetime
import encodings.idna  # noqa: F401 -- import it while it is still readable
import fcntl
import glob
import hashlib
import hmac
import http.client
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

PROGRAM, HOME, INSTANCE = sys.argv[1:4] if len(sys.argv) == 4 else sys.exit(__doc__)
STATE, ACCESS = os.path.join(HOME, "state"), os.path.join(HOME, "access")
UNPRIVILEGED, USER = 65534, 1000
CROWD = 2100
# The longest time that the owner may wait for a response, in seconds.
PATIENCE = 2.0

with open(os.path.join(ACCESS, "0.json"), encoding="utf-8") as file:
    KEY = json.load(file)
DAEMON = KEY["pid"]
HOST = KEY["endpoint"].removeprefix("http://")
ADDRESS, PORT = HOST.split(":")
PORT = int(PORT)
SCRATCH = tempfile.mkdtemp(prefix="local-user-")
LIBC = ctypes.CDLL(None, use_errno=True)
ATTEMPTS = []


def attempt(name, user=UNPRIVILEGED):
    """Registers an attempt. It returns how it got through, or nothing if it
    was refused."""

    def register(function):
        ATTEMPTS.append((name, user, function))
        return function

    return register


def call(function, *arguments):
    """Calls a function of the C library. Raises OSError if it fails."""
    result = function(*arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def syscall(number, *arguments):
    return call(LIBC.syscall, ctypes.c_long(number), *map(ctypes.c_long, arguments))


def descendants(pid):
    """Returns a process and all its descendants."""
    found, left = [], [pid]
    while left:
        parent = left.pop()
        found.append(parent)
        for task in glob.glob(f"/proc/{parent}/task/*/children"):
            try:
                with open(task, encoding="utf-8") as children:
                    left.extend(map(int, children.read().split()))
            except OSError:
                pass
    return found


def sockets_of(pids):
    """Returns the names of their unix sockets, as in /proc."""
    own = set()
    for path in [path for pid in pids for path in glob.glob(f"/proc/{pid}/fd/*")]:
        try:
            own.add(os.readlink(path))
        except OSError:
            pass
    with open("/proc/net/unix", encoding="utf-8") as table:
        lines = [line.split() for line in table]
    return [line[7] for line in lines if len(line) > 7 and f"socket:[{line[6]}]" in own]


PROCESSES = descendants(DAEMON)
SOCKETS = sockets_of(PROCESSES)


def each_process(visit):
    """Tries an action on every process of the cloud."""
    got = []
    for pid in PROCESSES:
        try:
            how = visit(pid)
        except OSError:
            continue
        if how is not None:
            got.append(f"{pid} {how}")
    return "; ".join(got[:3]) or None


# Files


def reads(path):
    with open(path, "rb") as opened:
        return f"{len(opened.read(100))} bytes"


for private in ["keys.json", "cloud.log", "zygote.log", "ec2.json", "ec2.journal", "network.json", "lock"]:
    attempt(f"read state/{private}")(lambda path=private: reads(os.path.join(STATE, path)))
attempt("read the owner's access file")(lambda: reads(os.path.join(ACCESS, "0.json")))
attempt("list the state directory")(lambda: str(os.listdir(STATE)))
attempt("list the disks of instances")(lambda: str(os.listdir(STATE + "/instances")))
attempt("run the cloud's copy of the program")(
    lambda: str(subprocess.run([STATE + "/autorun"], check=False))
)
attempt("plant a link in the state directory")(
    lambda: os.symlink("/etc/passwd", STATE + "/ec2.json.new") or "made"
)


@attempt("plant another access file")
def plant_access():
    os.symlink(SCRATCH, f"{ACCESS}/{os.getuid()}.json")
    return "made"


@attempt("replace the access file of root")
def replace_access():
    os.rename(ACCESS + "/0.json", ACCESS + "/1.json")
    return "renamed"


@attempt("move the state directory away")
def move_state():
    os.rename(STATE, STATE + ".old")
    return "renamed"


@attempt("give the access key a second name")
def link_key():
    os.link(STATE + "/keys.json", SCRATCH + "/keys.json")
    return "linked"


@attempt("lock the claims of networks")
def lock_claims():
    with open("/run/autorun/claims", "r+b") as claims:
        fcntl.lockf(claims, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return "locked"


@attempt("create a file in /run/autorun")
def plant_run():
    os.symlink("/etc/passwd", "/run/autorun/planted")
    return "made"


@attempt("read the state in a new user namespace")
def own_namespace():
    done = subprocess.run(
        ["unshare", "-Urm", "cat", STATE + "/keys.json"], capture_output=True, check=False
    )
    return "read" if done.returncode == 0 else None


@attempt("mount over the state in a new user namespace")
def mount_over():
    script = f"mount -t tmpfs none {STATE} && cat /proc/{DAEMON}/root{STATE}/keys.json"
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", script], capture_output=True, check=False)
    return "read" if done.returncode == 0 else None


# The endpoint, without the key


def ask(method, path, body=None, headers=None, host=HOST):
    connection = http.client.HTTPConnection(ADDRESS, PORT, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", host)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def is_served(*arguments, **more):
    status, body = ask(*arguments, **more)
    return f"{status} {body[:60]!r}" if status < 400 else None


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
REGIONS = b"Action=DescribeRegions&Version=2016-11-15"
attempt("EC2 without a signature")(lambda: is_served("POST", "/", REGIONS, FORM))
attempt("EC2 with a signature by another key")(lambda: is_served(*signed("AKIAOTHER", "secret")))
attempt("EC2 with the key's name and another secret")(
    lambda: is_served(*signed(KEY["access_key_id"], "secret"))
)
attempt("the list of buckets without a signature")(lambda: is_served("GET", "/"))
attempt("a new bucket without a signature")(lambda: is_served("PUT", "/planted"))
attempt("an object in no bucket")(lambda: is_served("PUT", "/planted/object", b"x"))
attempt("the list of instances without the token")(lambda: is_served("GET", "/_autorun/instances"))
attempt("stop the cloud without the token")(lambda: is_served("POST", "/_autorun/down", b""))
attempt("stop the cloud with an empty token")(
    lambda: is_served("POST", "/_autorun/down", b"", {"X-Autorun-Token": ""})
)
attempt("faults without the token")(lambda: is_served("PUT", "/_autorun/faults", b"{}"))
attempt("the cloud with a different host name")(
    lambda: is_served("GET", "/_autorun/status", host="attacker.example")
)


@attempt("the key in public responses")
def status_has_key():
    result = ask("GET", "/_autorun/status")[1] + ask("GET", "/_autorun/checkip")[1]
    secrets = [KEY["secret_access_key"], KEY["token"], KEY["access_key_id"]]
    return "shown" if any(secret.encode() in result for secret in secrets) else None


def signed(key, secret):
    """Returns a signed EC2 request (signature version 4)."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/us-east-1/ec2/aws4_request"
    names = "content-type;host;x-amz-date"
    kind = FORM["Content-Type"]
    head = f"content-type:{kind}\nhost:{HOST}\nx-amz-date:{now}\n"
    digest = hashlib.sha256(REGIONS).hexdigest()
    canonical = "\n".join(["POST", "/", "", head, names, digest])
    canonical = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, canonical])
    signature = ("AWS4" + secret).encode()
    for part in [*scope.split("/"), text]:
        signature = hmac.new(signature, part.encode(), hashlib.sha256).digest()
    headers = FORM | {
        "X-Amz-Date": now,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={key}/{scope}, "
        f"SignedHeaders={names}, Signature={signature.hex()}",
    }
    return "POST", "/", REGIONS, headers


# Processes of the cloud, in /proc and by system calls

LINKS = ["root", "cwd", "exe"]
FILES = ["environ", "mem", "maps", "auxv", "stack", "syscall"]
NAMESPACES = ["user", "mnt", "net", "pid", "ipc", "uts", "cgroup"]


def processes_of(user, suffix):
    """Registers the same attempts for another user."""

    def add(name, visit):
        attempt(name + suffix, user)(lambda: each_process(visit))

    for link in LINKS:
        add(f"enter /proc/PID/{link}", lambda pid, link=link: os.readlink(f"/proc/{pid}/{link}"))
    for name in FILES:
        add(f"read /proc/PID/{name}", lambda pid, name=name: reads(f"/proc/{pid}/{name}"))
    add("list files through /proc/PID/root", lambda pid: str(os.listdir(f"/proc/{pid}/root/root")))
    add("list /proc/PID/fd", lambda pid: str(os.listdir(f"/proc/{pid}/fd")))
    add("write /proc/PID/oom_score_adj", write_oom)
    add("send a signal", lambda pid: os.kill(pid, 0) or "sent")
    add("ptrace", ptrace)
    add("read memory by process_vm_readv", vm_read)
    add("take a descriptor by pidfd_getfd", take_descriptor)
    add("change limits", lambda pid: resource.prlimit(pid, resource.RLIMIT_NOFILE, (9, 9)) and "set")
    add("change the priority", lambda pid: os.setpriority(os.PRIO_PROCESS, pid, 19) or "set")
    add("change the processors", lambda pid: os.sched_setaffinity(pid, {0}) or "set")
    for kind in NAMESPACES:
        add(f"join the namespace {kind}", lambda pid, kind=kind: join(pid, kind))
    add("join by nsenter", nsenter)


def write_oom(pid):
    with open(f"/proc/{pid}/oom_score_adj", "w", encoding="utf-8") as opened:
        opened.write("1000")
    return "written"


def ptrace(pid):
    seize, detach = 0x4206, 17
    call(LIBC.ptrace, ctypes.c_long(seize), ctypes.c_long(pid), None, None)
    LIBC.ptrace(ctypes.c_long(detach), ctypes.c_long(pid), None, None)
    return "attached"


def vm_read(pid):
    class Piece(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

    buffer = ctypes.create_string_buffer(8)
    own = Piece(ctypes.addressof(buffer), 8)
    # The address is not mapped: the kernel reports EFAULT to a process that
    # has access.
    other = Piece(4096, 8)
    try:
        call(
            LIBC.process_vm_readv,
            ctypes.c_int(pid),
            ctypes.byref(own),
            ctypes.c_ulong(1),
            ctypes.byref(other),
            ctypes.c_ulong(1),
            ctypes.c_ulong(0),
        )
    except OSError as error:
        return "allowed" if error.errno == 14 else None
    return "read"


def take_descriptor(pid):
    pidfd = os.pidfd_open(pid)
    try:
        os.close(syscall(438, pidfd, 0, 0))
    finally:
        os.close(pidfd)
    return "taken"


def join(pid, kind):
    namespace = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
    # Use a child process, because a process that has joined is no longer the
    # same user.
    child = os.fork()
    if child == 0:
        os._exit(0 if LIBC.setns(namespace, 0) == 0 else 1)
    os.close(namespace)
    same = os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")
    return "joined" if os.waitpid(child, 0)[1] == 0 and not same else None


def nsenter(pid):
    command = ["nsenter", "-t", str(pid), "-m", "-n", "-p", "true"]
    done = subprocess.run(command, capture_output=True, check=False)
    return "entered" if done.returncode == 0 else None


processes_of(UNPRIVILEGED, "")
processes_of(USER, " as user 1000")


@attempt("put oneself into a cgroup of the cloud")
def join_cgroup():
    got = []
    for path in glob.glob("/sys/fs/cgroup/**/*autorun*/**/cgroup.procs", recursive=True):
        try:
            with open(path, "w", encoding="utf-8") as procs:
                procs.write(str(os.getpid()))
            got.append(path)
        except OSError:
            pass
    return "; ".join(got) or None


# The network


def connects(address, port):
    with socket.create_connection((address, port), timeout=2):
        return "connected"


for number in [80, 443, 3128, 4577, 8080]:
    attempt(f"port {number} of the instance")(lambda port=number: connects(INSTANCE, port))


@attempt("the instances' metadata service")
def metadata():
    # On a machine in a cloud, this address may belong to the metadata service
    # of that cloud.
    service = http.client.HTTPConnection("169.254.169.254", timeout=2)
    service.request("GET", "/latest/meta-data/local-ipv4")
    result = service.getresponse().read().decode(errors="replace")
    return result if result in [INSTANCE, ADDRESS] else None


def ssh(user):
    command = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]
    command += ["-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=5"]
    command += [f"{user}@{INSTANCE}", "id"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout if done.returncode == 0 else None


for account in ["ec2-user", "root", "daemon"]:
    attempt(f"ssh as {account} without a key")(lambda user=account: ssh(user))


def netlink(kind, flags, body):
    """Sends one request to change the network. Raises the kernel's error."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
        head = struct.pack("=IHHII", 16 + len(body), kind, flags | 5, 1, 0)
        route.send(head + body)
        answer = route.recv(4096)
    code = struct.unpack("=i", answer[16:20])[0]
    if code:
        raise OSError(-code, os.strerror(-code))
    return "changed"


def interfaces():
    return [(i, name) for i, name in socket.if_nameindex() if name.startswith("autorun")]


def each_interface(change):
    got = None
    for number, _ in interfaces():
        try:
            got = change(number)
        except OSError:
            pass
    return got


attempt("set the interface down")(
    lambda: each_interface(lambda i: netlink(16, 0, struct.pack("=BBHiII", 0, 0, 0, i, 0, 1)))
)
attempt("remove the interface")(
    lambda: each_interface(lambda i: netlink(17, 0, struct.pack("=BBHiII", 0, 0, 0, i, 0, 0)))
)


@attempt("remove the instance's route")
def take_route():
    destination = struct.pack("=HH4s", 8, 1, socket.inet_aton(INSTANCE))
    return netlink(25, 0, struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 254, 0, 0, 0, 0) + destination)


@attempt("add a route for the instance")
def add_route():
    destination = struct.pack("=HH4s", 8, 1, socket.inet_aton(INSTANCE))
    out = struct.pack("=HHI", 8, 4, 1)
    body = struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 254, 3, 253, 1, 0)
    return netlink(24, 0x400, body + destination + out)


@attempt("add the instance's address to an interface")
def take_address():
    return netlink(20, 0x400, struct.pack("=BBBBI", 2, 32, 0, 0, 1) + struct.pack(
        "=HH4s", 8, 2, socket.inet_aton(INSTANCE)))


@attempt("raw frames")
def raw_frames():
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)):
        return "opened"


@attempt("raw packets")
def raw_packets():
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP):
        return "opened"


@attempt("bind a socket to the interface and send raw")
def bind_interface():
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for _, name in interfaces():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
        return "opened"


@attempt("listen at the cloud's own address")
def same_port():
    with socket.socket() as server:
        for option in [socket.SO_REUSEADDR, socket.SO_REUSEPORT]:
            server.setsockopt(socket.SOL_SOCKET, option, 1)
        server.bind((ADDRESS, PORT))
        server.listen()
        return "listening"


@attempt("read the firewall")
def firewall():
    done = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=False)
    return done.stdout[:60] if done.returncode == 0 and "autorun" in done.stdout else None


# Sockets of daemon and instances


@attempt("connect to the cloud's unix sockets")
def unix_sockets():
    got = []
    for name in SOCKETS:
        for kind in [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM]:
            with socket.socket(socket.AF_UNIX, kind) as client:
                try:
                    client.connect("\0" + name[1:] if name.startswith("@") else name)
                    got.append(name)
                except OSError:
                    pass
    return "; ".join(got) or None


@attempt("keep `cloud up` from finding a network")
def block_up():
    held = []
    names = [f"10.{second}.0.0" for second in range(256)]
    names += [f"100.{second}.77.0" for second in range(64, 128)]
    for name in names:
        taken = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            taken.bind(f"\0autorun {name}/24")
        except OSError:
            pass
        held.append(taken)
    result = ROOT.ask("up")
    for taken in held:
        taken.close()
    return result


# Many connections: the owner must be served while they exist.


def crowd(name, behave, count=CROWD):
    @attempt(f"{count} connections: {name}")
    def hold():
        held, ended = [], threading.Event()
        for _ in range(count):
            client = socket.socket()
            client.setblocking(False)
            try:
                client.connect((ADDRESS, PORT))
            except BlockingIOError:
                pass
            held.append(client)
        until_open(held)
        keeps_on = threading.Thread(target=behave, args=(held, ended))
        keeps_on.start()
        time.sleep(1)
        slowest = ROOT.ask("serve")
        ended.set()
        keeps_on.join()
        for client in held:
            client.close()
        return slowest


def until_open(held):
    """Waits until all connections are established, which makes them writable.
    """
    waiting = select.poll()
    for client in held:
        waiting.register(client, select.POLLOUT)
    left, end = len(held), time.monotonic() + 8
    while left and time.monotonic() < end:
        for descriptor, _ in waiting.poll(500):
            waiting.unregister(descriptor)
            left -= 1


def send(client, text):
    try:
        client.send(text)
    except OSError:
        pass


POST = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {FORM['Content-Type']}\r\n".encode()


def once(text):
    def behave(held, ended):
        for client in held:
            send(client, text)
        ended.wait()

    return behave


def dribbled(first, more):
    def behave(held, ended):
        for client in held:
            send(client, first)
        while not ended.wait(0.5):
            for client in held:
                send(client, more)

    return behave


def unread(held, ended):
    many = f"GET /_autorun/status HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode() * 200
    while not ended.wait(0.5):
        for client in held:
            send(client, many)


def reconnecting(held, ended):
    while not ended.is_set():
        for place, client in enumerate(held):
            if ended.is_set():
                return
            client.close()
            held[place] = client = socket.socket()
            client.setblocking(False)
            try:
                client.connect((ADDRESS, PORT))
            except OSError:
                pass


def flood(held, ended):
    """Sends requests on all connections continuously."""
    text = f"GET /_autorun/status HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    while not ended.is_set():
        for client in held:
            if ended.is_set():
                return
            send(client, text)
            try:
                client.recv(65536)
            except OSError:
                pass


crowd("nothing is sent", once(b""))
crowd("half a head", once(POST + b"X-A: "))
crowd("a head, slowly", dribbled(POST, b"X-A: b\r\n"))
crowd("a body, slowly", dribbled(POST + b"Content-Length: 200000\r\n\r\n", b"A"))
crowd("a body that never comes", once(POST + b"Content-Length: 200000\r\n\r\n"))
crowd(
    "an object that never comes",
    once(f"PUT /b/k HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5000000000\r\n\r\n".encode()),
)
crowd(
    "a body in pieces, slowly",
    dribbled(POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nA\r\n"),
)
crowd("kept and idle", once(f"GET /_autorun/checkip HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()))
crowd("answers that are not read", unread)
crowd("new connections continuously", reconnecting)
crowd("requests continuously", flood, 200)


@attempt("fill the memory with bodies")
def fill_memory():
    before = int(ROOT.ask("memory"))
    held = []
    body = POST + b"Content-Length: 250000\r\n\r\n" + b"A" * 200_000
    for _ in range(1000):
        client = socket.socket()
        client.settimeout(2)
        held.append(client)
        try:
            client.connect((ADDRESS, PORT))
            client.sendall(body)
        except OSError:
            pass
    grown = (int(ROOT.ask("memory")) - before) // 1024
    slow = ROOT.ask("serve")
    for client in held:
        client.close()
    return slow or (f"{grown} MiB more" if grown > 100 else None)


# The log


@attempt("write forged lines to the log")
def forge_log():
    name = urllib.parse.quote("X\r\nERROR forged \x1b[2J\x9b2J")
    ask("POST", "/", f"Action={name}".encode(), FORM)
    ask("GET", f"/{name}/{name}", headers={"User-Agent": "app/autorun-\x1b[2J"})
    ask("PUT", f"/bucket/{name}", b"", {"Content-Type": "a\tb"})
    return ROOT.ask("log")


@attempt("fill the log")
def fill_log():
    before = int(ROOT.ask("log size"))
    request = b"GET /" + b"b" * 200 + f"/k HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    for _ in range(20):
        with socket.create_connection((ADDRESS, PORT), timeout=5) as client:
            for _ in range(50):
                try:
                    client.sendall(request * 20)
                    client.recv(1 << 20)
                except OSError:
                    break
    grown = int(ROOT.ask("log size")) - before
    return f"{grown} bytes for 20,000 requests" if grown > 500_000 else None


# Root, which measures the cloud.


class Owner:
    """Answers questions that only root can answer."""

    def __init__(self):
        self.near, self.far = socket.socketpair()

    def ask(self, question):
        self.near.sendall(question.encode() + b"\n")
        result = self.near.makefile("r", encoding="utf-8").readline().strip()
        return None if result == "-" else result

    def serve(self):
        for question in self.far.makefile("r", encoding="utf-8"):
            answer = {
                "serve": self.is_served,
                "memory": self.memory,
                "log": self.log,
                "log size": self.log_size,
                "up": self.up,
            }[question.strip()]()
            self.far.sendall((str(answer) if answer is not None else "-").encode() + b"\n")

    @staticmethod
    def is_served():
        slowest = 0.0
        for _ in range(5):
            begun = time.monotonic()
            try:
                method, path, body, headers = signed(KEY["access_key_id"], KEY["secret_access_key"])
                status = ask(method, path, body, headers)[0]
            except OSError as error:
                return f"the owner is not served: {error}"
            if status != 200:
                return f"the owner receives status {status}"
            slowest = max(slowest, time.monotonic() - begun)
        print(f"        the owner waits {slowest * 1000:.0f} ms at most", flush=True)
        return f"the owner waits {slowest:.1f} s" if slowest > PATIENCE else None

    @staticmethod
    def memory():
        with open(f"/proc/{DAEMON}/status", encoding="utf-8") as status:
            return next(line.split()[1] for line in status if line.startswith("VmRSS"))

    @staticmethod
    def logs():
        return glob.glob(STATE + "/cloud.log*") + glob.glob(STATE + "/zygote.log*")

    def log(self):
        for path in self.logs():
            with open(path, "rb") as opened:
                text = opened.read().decode(errors="surrogateescape")
            if re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text.replace("\r\n", "\n")):
                return f"{path} has control characters"
            if re.search(r"^ERROR forged", text, re.MULTILINE):
                return f"{path} has a forged line"
        return None

    def log_size(self):
        return sum(os.path.getsize(path) for path in self.logs())

    @staticmethod
    def up():
        other = tempfile.mkdtemp(prefix="second-cloud-")
        environment = os.environ | {"AUTORUN_CLOUD_HOME": other}
        for variable in ["SUDO_UID", "SUDO_GID"]:
            environment.pop(variable, None)
        done = subprocess.run(
            [PROGRAM, "cloud", "up"], env=environment, capture_output=True, text=True, check=False
        )
        subprocess.run([PROGRAM, "cloud", "down"], env=environment, capture_output=True, check=False)
        shutil.rmtree(other, ignore_errors=True)
        return " ".join(done.stderr.split()) if done.returncode else None


ROOT = Owner()


def run(user, function):
    """Runs an attempt in a separate process, as a user without rights."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        os.environ["HOME"] = "/nonexistent"
        signal.alarm(120)
        try:
            result = function()
        except (OSError, http.client.HTTPException, subprocess.TimeoutExpired):
            result = None
        except BaseException as error:  # an error of the probe is not a refusal
            result = f"the probe failed: {error!r}"
        os.write(into, str(result or "").encode()[:4000])
        os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as read:
        result = read.read().decode()
    ended = os.waitpid(child, 0)[1]
    return result or (f"the probe ended with {ended}" if ended else None)


def main():
    if os.geteuid() != 0:
        sys.exit("run this program as root: it drops its rights before each attempt")
    limit = CROWD + 500
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    os.chmod(SCRATCH, 0o777)
    threading.Thread(target=ROOT.serve, daemon=True).start()
    through = 0
    for name, user, function in ATTEMPTS:
        result = run(user, function)
        if result:
            through += 1
            print(f"GOT THROUGH {name}: {' '.join(result.split())[:300]}", flush=True)
        else:
            print(f"refused {name}", flush=True)
    if not os.path.exists(f"/proc/{DAEMON}") or (result := ROOT.is_served()):
        through += 1
        print("GOT THROUGH all attempts together: the cloud no longer responds")
    shutil.rmtree(SCRATCH)
    print(f"{len(ATTEMPTS)} attempts, {through} got through")
    return 1 if through else 0


if __name__ == "__main__":
    sys.exit(main())
