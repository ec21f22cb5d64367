"""Runs a program and prints what it used: measured.py OUTPUT PROGRAM [ARGUMENT]..

A small process of its own, because the kernel counts the memory of the process that
forks as memory of the program.
"""

import json
import os
import sys
import time


def main():
    output = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.execvp(sys.argv[2], sys.argv[2:])
    _, status, used = os.wait4(child, 0)
    print(json.dumps({
        "status": os.waitstatus_to_exitcode(status),
        "wall": time.monotonic() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "memory": used.ru_maxrss / 1024,
    }))


main()
