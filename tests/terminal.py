#!/usr/bin/env python3
"""What a program shows on a terminal: terminal.py ROWS COLUMNS [--resize TEXT ROWS COLUMNS] -- COMMAND..

Runs the command on a pseudo terminal and follows its output with a terminal
emulator. Once TEXT stands on the screen the window gets its other size. Prints
JSON: `status`; `lines`, what has scrolled off and what stands there at the end;
`passing`, every line that stood there at some time and does not at the end;
`colored`, whether anything of it was ever in a colour.
"""

import fcntl
import json
import os
import pty
import struct
import sys
import termios

import pyte


def main():
    arguments, command = split(sys.argv[1:])
    rows, columns = int(arguments[0]), int(arguments[1])
    resize = None
    if len(arguments) > 2:
        resize = (arguments[3], int(arguments[4]), int(arguments[5]))
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.setdefault("TERM", "xterm-256color")
        os.execvp(command[0], command)
    give_size(terminal, rows, columns)
    screen = pyte.HistoryScreen(columns, rows, history=100_000, ratio=1)
    stream = pyte.ByteStream(screen)
    passing = set()
    colored = False
    while data := read(terminal):
        # In small pieces: what stands there for a moment is seen as well.
        for piece in data.splitlines(keepends=True):
            stream.feed(piece)
            shown = [line.rstrip() for line in screen.display]
            colored = colored or any(
                character.fg != "default"
                for line in screen.buffer.values()
                for character in line.values()
            )
            passing.update(shown)
            if resize and any(resize[0] in line for line in shown):
                give_size(terminal, resize[1], resize[2])
                screen.resize(resize[1], resize[2])
                resize = None
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    scrolled = [text(line, screen.columns) for line in screen.history.top]
    lines = scrolled + [line.rstrip() for line in screen.display]
    while lines and not lines[-1]:
        lines.pop()
    passing = sorted(passing - set(lines))
    seen = {"status": status, "lines": lines, "passing": passing, "colored": colored}
    print(json.dumps(seen))


def split(arguments):
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def give_size(terminal, rows, columns):
    # The kernel tells the programs in there by SIGWINCH.
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # the last program in there has ended
        return b""


def text(line, columns):
    return "".join(line[n].data for n in range(columns)).rstrip()


main()
