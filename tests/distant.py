"""A large file travels to a distant host on several connections: distant.py AUTORUN."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from speed_rows import ssh
from speed_rows.table import Bench

SIZE = (40 << 20) + 77  # no multiple of anything


def main():
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench({}, directory)
        with ssh.Server(bench, far=True) as server, ssh.memory() as target:
            [host] = server.hosts(1)
            source = bench.directory / "source"
            source.write_bytes(os.urandom(SIZE))
            log = bench.directory / "log"

            def copy(to, status):
                playbook = bench.directory / "copy.rhai"
                options = '#{ mode: "0640" }'
                playbook.write_text(f'scp({server.host(host)}, "{source}", "{to}", {options});')
                run = [sys.argv[1], "-q", "--log-file", log, playbook]
                bench.run(run, server.pid, statuses=(status,))

            copy(target / "copy", 0)
            assert (target / "copy").read_bytes() == source.read_bytes()
            assert (target / "copy").stat().st_mode & 0o7777 == 0o640
            assert os.listdir(target) == ["copy"], os.listdir(target)
            logins = log.read_text().count("logged in to")
            assert logins > 2, logins

            # A disk with room for some of the parts.
            small = target / "small"
            small.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", small], check=True)
            try:
                copy(small / "copy", 1)
                left = os.listdir(small)
            finally:
                subprocess.run(["umount", "-l", small], check=True)
            message = (bench.directory / "output").read_text()
            assert "free disk space" in message, message
            assert left == [], left


main()
