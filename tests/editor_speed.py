#!/usr/bin/env python3
"""Measures `autorun check` and `autorun lsp` with a playbook of 5,000 lines:
editor_speed.py [--lines N] [--keep FILE] [PROGRAM]

Prints the median of 15 calls: the check, the start of the program, and completion,
hover and signature help after a change in the middle of the text. PROGRAM is
target/release/autorun by default.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 15

PART = """\
/// Brings up group {n} of the site.
fn bring_up_{n}(name, size, picture) {{
    let group = create_security_group(`${{name}}-{n}`, #{{
        ingress: [#{{ port: 80 }}, #{{ port: 22, from: "192.0.2.0/24" }}],
    }});
    let server = launch_instance(#{{
        name: `${{name}}-{n}`,
        type: size,
        security_groups: [group],
        user_data: "#!/bin/sh\\ndnf install -y nginx",
        tags: #{{ Team: "web", Part: "{n}" }},
        wait: false,
    }});
    wait_until_ready(server);
    let found = [];
    for (line, number) in ssh_exec(server, "uptime").stdout.split("\\n") {{
        if line.contains("load") && number < {n} {{
            found.push(#{{ line: line, number: number, at: server.public_ip }});
        }} else if line == "" {{
            continue;
        }}
    }}
    try {{
        scp(server, picture, `/tmp/picture-{n}.png`);
    }} catch (err) {{
        log_warn(`{n}: ${{error_info(err).message}}`);
    }}
    #{{ server: server, found: found.map(|one| one.line), url: server.url }}
}}

let size_{n} = if name.len > {n} {{ "t3.micro" }} else {{ "t3.small" }};
let result_{n} = bring_up_{n}(name, size_{n}, "assets/logo.png");
let server_{n} = find_instance(#{{ name: `${{name}}-{n}` }});
if server_{n} != () {{
    print(`group {n}: ${{server_{n}.public_ip}} ${{result_{n}.url}}`);
    total += result_{n}.found.len;
}}

"""


def playbook(lines):
    """Returns a playbook of functions, loops, calls and maps with about so many lines."""
    head = '//! A large playbook.\nlet name = var("name", "site", "Prefix of all names");\nlet total = 0;\n'
    parts = []
    length = head.count("\n")
    while length < lines:
        parts.append(PART.format(n=len(parts)))
        length += parts[-1].count("\n")
    return head + "".join(parts) + "print(total);\n"


def timed(call):
    """Returns the medians of wall and CPU milliseconds."""
    walls, cpus = [], []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.monotonic()
        call()
        walls.append(time.monotonic() - begin)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(walls) * 1000, statistics.median(cpus) * 1000


class Server:
    """A session with the language server."""

    def __init__(self, program):
        self.process = subprocess.Popen([program, "lsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.last = 0

    def send(self, message):
        text = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(text) + text)
        self.process.stdin.flush()

    def read(self):
        length = 0
        while (line := self.process.stdout.readline().strip()) != b"":
            if line.startswith(b"Content-Length: "):
                length = int(line.split()[1])
        return json.loads(self.process.stdout.read(length))

    def notify(self, method, params):
        self.send({"method": method, "params": params})

    def request(self, method, params):
        self.last += 1
        self.send({"id": self.last, "method": method, "params": params})
        while (message := self.read()).get("id") != self.last:
            pass
        return message["result"]


def completion_times(program, text):
    """Prints the times of requests right after a change, as an editor sends them."""
    server = Server(program)
    server.request("initialize", {"capabilities": {}})
    server.notify("initialized", {})
    uri = "file:///tmp/large.rhai"
    document = {"uri": uri, "languageId": "rhai", "version": 0, "text": text}
    server.notify("textDocument/didOpen", {"textDocument": document})
    middle = text.count("\n") // 2
    lines = text.split("\n")
    line = next(n for n in range(middle, len(lines)) if "wait_until_ready(server)" in lines[n])
    for what, method, written in [
        ("completion after a dot", "completion", "    server."),
        ("completion of a name", "completion", "    cr"),
        ("completion of an option", "completion", "    launch_instance(#{ na"),
        ("hover", "hover", "    launch_instance"),
        ("signature help", "signatureHelp", "    ssh_exec(server, "),
    ]:
        times = []
        for version in range(1, ROUNDS + 1):
            start = {"line": line, "character": 0}
            end = {"line": line + 1, "character": 0}
            server.notify("textDocument/didChange", {
                "textDocument": {"uri": uri, "version": version},
                "contentChanges": [{"range": {"start": start, "end": end}, "text": written + "\n"}],
            })
            place = {"line": line, "character": len(written)}
            begin = time.monotonic()
            answer = server.request(
                f"textDocument/{method}", {"textDocument": {"uri": uri}, "position": place})
            times.append(time.monotonic() - begin)
            assert answer, what
        print(f"{what:26} {statistics.median(times) * 1000:6.1f} ms")
    server.request("shutdown", None)
    server.notify("exit", None)
    server.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lines", type=int, default=5000)
    parser.add_argument("--keep", help="write the playbook to this file and measure nothing")
    parser.add_argument("program", nargs="?", default="target/release/autorun")
    arguments = parser.parse_args()
    text = playbook(arguments.lines)
    if arguments.keep:
        pathlib.Path(arguments.keep).write_text(text)
        return
    with tempfile.NamedTemporaryFile("w", suffix=".rhai") as file:
        file.write(text)
        file.flush()

        def run(*words):
            done = subprocess.run([arguments.program, *words], capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(done.stdout + done.stderr)

        wall, cpu = timed(lambda: run("--version"))
        print(f"{'start':26} {wall:6.1f} ms, {cpu:.1f} ms of CPU")
        wall, cpu = timed(lambda: run("check", file.name))
        print(f"{'check, ' + str(text.count(chr(10))) + ' lines':26} {wall:6.1f} ms, {cpu:.1f} ms of CPU")
    completion_times(arguments.program, text)


if __name__ == "__main__":
    main()
