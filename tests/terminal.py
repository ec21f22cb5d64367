#!/usr/bin/env python3
"""Records what a program shows on a terminal: terminal.py ROWS COLUMNS [--resize TEXT ROWS COLUMNS] -- COMMAND..

Runs the command on a pseudo terminal and interprets its output with a terminal
emulator. Changes the window size once TEXT is on the screen. Prints JSON: `status`;
`lines`, all lines at the end, including those that have scrolled off; `passing`, every
line that appeared at some time but is not there at the end; `colored`, whether any text
ever had a colour.
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
    set_size(terminal, rows, columns)
    screen = pyte.HistoryScreen(columns, rows, history=100_000, ratio=1)
    stream = pyte.ByteStream(screen)
    passing = set()
    colored = False
    while data := read(terminal):
        # Process the output in small pieces, to see lines that appear only for a
        # moment.
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
                set_size(terminal, resize[1], resize[2])
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


def set_size(terminal, rows, columns):
    # The kernel notifies the programs of the terminal with SIGWINCH.
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # the last program on the terminal has ended
        return b""


def text(line, columns):
    return "".join(line[n].data for n in range(columns)).rstrip()


main()
