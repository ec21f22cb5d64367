#!/usr/bin/env python3
"""Checks this machine's web server: its process, its port and its page.

Prints one line. Exit status: 0 if the server works, 1 if it does not, 2 for wrong usage.
Needs only Python 3.6 and Linux.
"""

import argparse
import http.client
import os
import socket
import sys
import time

TIMEOUT = 5  # seconds, for each connection


def main():
    options = arguments()
    try:
        line, status = "ok: " + check(options), 0
    except (Down, OSError) as reason:
        line, status = "down: {}".format(reason), 1
    # Over ssh the locale is often C, which Python 3.6 cannot print all characters in.
    print(line.encode("ascii", "backslashreplace").decode())
    return status


class Down(Exception):
    """The first check that failed."""


def check(options):
    if not is_running(options.process):
        raise Down("no process named {} is running".format(options.process))
    if not is_listening(options.port):
        raise Down("nothing is listening on port {}".format(options.port))
    milliseconds = fetch(options)
    return "{} is running, port {} is listening, {} answered 200 in {} ms".format(
        options.process, options.port, options.path, milliseconds
    )


def is_running(name):
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            # "PID (name) state ...": the name may contain spaces and brackets.
            with open("/proc/{}/stat".format(entry), errors="replace") as file:
                head, _, tail = file.read().rpartition(")")
        except OSError:  # the process has ended in the meantime
            continue
        # A zombie (Z) has ended and only waits for its parent to collect it. The
        # kernel truncates names to 15 characters.
        if head.partition("(")[2] == name[:15] and tail[1:2] not in ("Z", "X"):
            return True
    return False


def is_listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), TIMEOUT).close()
        return True
    except OSError:
        return False


def fetch(options):
    """Requests the page and returns the response time in milliseconds."""
    start = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", options.port, timeout=TIMEOUT)
    try:
        connection.request("GET", options.path)
        answer = connection.getresponse()
        page = answer.read().decode("utf-8", "replace")
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise Down("{} did not answer: {}".format(options.path, " ".join(reason.split())))
    finally:
        connection.close()
    if answer.status != 200:
        raise Down("{} answered {}".format(options.path, answer.status))
    if options.contains is not None and options.contains not in page:
        raise Down("{} does not contain {!r}".format(options.path, options.contains))
    return round((time.monotonic() - start) * 1000)


class OneLineParser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, "usage: {} (see {} --help)\n".format(message, self.prog))


def arguments():
    parser = OneLineParser(description="Checks the web server of this machine.")
    parser.add_argument("--process", default="nginx", help="name of the process (nginx)")
    parser.add_argument("--port", type=port, default=80, help="port on 127.0.0.1 (80)")
    parser.add_argument("--path", default="/", help="path of the page (/)")
    parser.add_argument("--contains", metavar="TEXT", help="text that must be on the page")
    return parser.parse_args()


def port(text):
    number = int(text)
    if not 0 < number < 65536:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
