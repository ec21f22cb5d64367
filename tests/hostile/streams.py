"""tar streams that a host must not send, and some that it may send.

Each replaces the output of `tar -cf - .` for the directory that was requested.
"""

import io
import tarfile

BLOCK = 512
END = bytes(2 * BLOCK)


def header(name, kind=b"0", size=0, mode=0o644, link=b"", size_field=None):
    """Returns a ustar header, with any bytes as the name."""
    field = b"%011o\0" % size if size_field is None else size_field
    block = bytearray(BLOCK)
    for at, part in (
        (0, name[:100]),
        (100, b"%07o\0" % mode),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, field),
        (136, b"%011o\0" % 1_700_000_000),
        (148, b" " * 8),
        (156, kind),
        (157, link[:100]),
        (257, b"ustar\0" + b"00"),
    ):
        block[at : at + len(part)] = part
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def content(data):
    return data + bytes(-len(data) % BLOCK)


def file(name, data=b"data\n", mode=0o644, kind=b"0"):
    return header(name, kind, len(data), mode) + content(data)


def folder(name, mode=0o755):
    return header(name, b"5", 0, mode)


def link(name, target, kind=b"2"):
    return header(name, kind, link=target)


def pax(*records):
    text = b""
    for record in records:
        length = len(record) + 3
        while len(b"%d " % length) + len(record) + 1 != length:
            length += 1
        text += b"%d %s\n" % (length, record)
    return header(b"pax", b"x", len(text)) + content(text)


def gnu_name(name, kind=b"L"):
    return header(b"././@LongLink", kind, len(name) + 1) + content(name + b"\0")


ROOT = folder(b"./")


def of(*parts):
    return ROOT + b"".join(parts) + END


def honest():
    """Returns Python's tar archives of a tree, in its three formats."""
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as tar:
            for name, kind, data in (
                (".", tarfile.DIRTYPE, b""),
                ("./sub", tarfile.DIRTYPE, b""),
                ("./sub/" + "n" * 90, tarfile.REGTYPE, b"long\n"),
                ("./file", tarfile.REGTYPE, b"x" * 1000),
                ("./empty", tarfile.REGTYPE, b""),
            ):
                info = tarfile.TarInfo(name)
                info.type, info.size, info.mode = kind, len(data), 0o755
                tar.addfile(info, io.BytesIO(data))
            info = tarfile.TarInfo("./sub/up")
            info.type, info.linkname = tarfile.SYMTYPE, "../file"
            tar.addfile(info)
            info = tarfile.TarInfo("./second")
            info.type, info.linkname = tarfile.LNKTYPE, "./file"
            tar.addfile(info)
        yield out.getvalue()


def hostile(outside):
    """Returns the name and the stream of each trick. `outside` is a directory
    elsewhere."""
    out = outside.encode()
    big = 1 << 40
    return {
        # Names.
        "absolute file": of(file(out + b"/planted")),
        "absolute directory": of(folder(out, 0o777)),
        "absolute directory, closed": of(folder(out + b"/victims", 0o000)),
        "absolute link": of(link(out + b"/planted", b"/etc/passwd")),
        "up": of(file(b"../planted")),
        "up, behind a dot": of(file(b"./../planted")),
        "up, in the middle": of(folder(b"a"), file(b"a/../../planted")),
        "up, at the end": of(folder(b"a"), folder(b"a/..", 0o777)),
        "the mode of the parent": of(folder(b"..", 0o777)),
        "the mode of the parent, with a slash": of(folder(b"../", 0o777)),
        "the root": of(folder(b"/", 0o777)),
        "two slashes": of(folder(b"//", 0o777)),
        "no name": of(file(b"")),
        "a dot as a file": of(file(b".")),
        "an empty part": of(folder(b"a"), file(b"a//b")),
        "a dot in the middle": of(folder(b"a"), file(b"a/./b")),
        "a file with a slash": of(file(b"a/")),
        "a name of 300 bytes": of(gnu_name(b"n" * 300) + file(b"n")),
        "a path of 70,000 bytes": of(gnu_name(b"d/" * 35_000 + b"x") + file(b"n")),
        "absolute by a long name": of(gnu_name(out + b"/planted") + file(b"n")),
        "up by a long name": of(gnu_name(b"../planted") + file(b"n")),
        "absolute by pax": of(pax(b"path=" + out + b"/planted") + file(b"n")),
        "up by pax": of(pax(b"path=../planted") + file(b"n")),
        "a NUL by pax": of(pax(b"path=a\0b") + file(b"n")),
        "no name by pax": of(pax(b"path=") + file(b"n")),
        "a long name without end": of(header(b"x", b"L", big)),
        "pax without end": of(header(b"x", b"x", big)),
        "names without end": of(gnu_name(b"n") * 50 + file(b"n")),
        "pax in another form": of(header(b"pax", b"x", 9) + content(b"999 a=b\n\n")),
        "pax with a negative length": of(header(b"pax", b"x", 9) + content(b"-9 path=a")),
        # Kinds.
        "through a link": of(link(b"way", out), file(b"way/planted")),
        "through a link upwards": of(link(b"way", b".."), file(b"way/planted")),
        "through a link inside": of(folder(b"a"), link(b"way", b"a"), file(b"way/planted")),
        "a mode through a link": of(link(b"way", out), folder(b"way/victims", 0o777)),
        "a second name of a file here": of(link(b"mine", out + b"/victim", b"1")),
        "a second name upwards": of(link(b"mine", b"../../outside/victim", b"1")),
        "a second name of nothing": of(link(b"mine", b"./nosuch", b"1")),
        "a second name of a directory": of(folder(b"a"), link(b"mine", b"./a", b"1")),
        "a second name of a link": of(link(b"a", b"b"), link(b"mine", b"./a", b"1")),
        "a second name by pax": of(
            pax(b"linkpath=" + out + b"/victim") + link(b"mine", b"x", b"1")
        ),
        "a second name by a long name": of(
            gnu_name(out + b"/victim", b"K") + link(b"mine", b"x", b"1")
        ),
        "a file with holes": of(header(b"holes", b"S", 0)),
        "a file with holes by pax": of(
            pax(b"GNU.sparse.major=1", b"GNU.sparse.name=../p") + file(b"n")
        ),
        "an unknown kind": of(file(b"odd", kind=b"Q")),
        "a volume": of(header(b"volume", b"V")),
        "a directory with contents": of(header(b"a", b"5", 5) + content(b"hello")),
        "a link with contents": of(header(b"a", b"2", 5, link=b"b") + content(b"hello")),
        # Twice.
        "a file twice": of(file(b"a"), file(b"a")),
        "a file twice, with a dot": of(file(b"a"), file(b"./a")),
        "a file, then a directory": of(file(b"a"), folder(b"a")),
        "a directory, then a file": of(folder(b"a"), file(b"a")),
        "a directory twice": of(folder(b"a"), folder(b"a", 0o777)),
        "a link, then a file": of(link(b"a", b"b"), file(b"a")),
        "the directory twice": of(folder(b"./", 0o777)),
        "a file as the directory": file(b"./") + END,
        "a file in a file": of(file(b"a"), file(b"a/b")),
        "a file in no directory": of(file(b"nosuch/b")),
        # Sizes and ends.
        "no directory": file(b"x") + END,
        "nothing": END,
        "not a byte": b"",
        "garbage": b"Permission denied\n" * 400,
        "zeros in the middle": ROOT + bytes(BLOCK) + file(b"x") + END,
        "more after the end": of(file(b"x")) + b"y" * 4096,
        "another stream after the end": of(file(b"x")) + of(file(b"y")),
        "without an end": ROOT + file(b"x"),
        "half a header": ROOT + file(b"x")[:300],
        "half a file": ROOT + header(b"x", size=5000) + b"y" * 100,
        "a file without end": ROOT + header(b"x", size=big) + b"y" * 100_000,
        "a negative size": of(header(b"x", size_field=b"-0000000001\0")),
        "a negative size in binary": of(header(b"x", size_field=b"\xff" * 12)),
        "a size that is not a number": of(header(b"x", size_field=b"notanumber\0\0")),
        "a size by pax that is not a number": of(pax(b"size=-1") + file(b"n")),
        "a size by pax without end": of(pax(b"size=99999999999999999999") + file(b"n")),
        "a damaged sum": of(file(b"x").replace(b"ustar", b"ustaR", 1)),
    }


def left_out(outside):
    """Returns streams of which one part is skipped. The rest, `kept`, arrives."""
    out = outside.encode()
    kept = file(b"kept")
    return {
        "a link to a file here": of(link(b"way", out + b"/victim"), kept),
        "a link to the root": of(link(b"way", b"/"), kept),
        "a directory through a link": of(link(b"way", out), folder(b"way", 0o711), kept),
        "a link upwards": of(link(b"way", b"../outside/victim"), kept),
        "a link upwards from below": of(folder(b"a"), link(b"a/way", b"../../outside"), kept),
        "a link down and up": of(
            folder(b"a"), link(b"a/b", b".."), link(b"way", b"a/b/../../outside"), kept
        ),
        "a link of no length": of(link(b"way", b""), kept),
        "a device": of(header(b"null", b"3"), kept),
        "a disk": of(header(b"disk", b"4"), kept),
        "a pipe": of(header(b"pipe", b"6"), kept),
        "a setuid file": of(file(b"kept", mode=0o6755)),
        "a sticky directory": of(folder(b"a", 0o3777), kept),
    }
