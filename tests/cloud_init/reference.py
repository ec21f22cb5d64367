#!/usr/bin/env python3
"""Asks the real cloud-init what it does with each entry of the corpus.

    reference.py DIRECTORY            prints the answers as JSON
    reference.py DIRECTORY --check    compares them with corpus.json

DIRECTORY contains the Python package `cloudinit`, for example
/usr/lib/python3/dist-packages of an unpacked Debian package. The handlers are
cloud-init's own, in a temporary directory. Scripts are not executed; whether the
kernel would execute them is read off their first line. Nothing is fetched:
`http://example.invalid/script` and the like have a fixed content.
"""

import base64
import json
import logging
import os
import sys
import tempfile
import types
from pathlib import Path

sys.path[:0] = [sys.argv[1], str(Path(__file__).parent)]

from cloudinit import handlers, helpers, user_data, util  # noqa: E402
from cloudinit.handlers import boot_hook, cloud_config, jinja_template  # noqa: E402
from cloudinit.handlers import shell_script, shell_script_by_frequency  # noqa: E402
from cloudinit.settings import PER_ALWAYS, PER_INSTANCE, PER_ONCE  # noqa: E402
from corpus import CONFIG, CORPUS, SCRIPT  # noqa: E402
from forms import FORMS  # noqa: E402

PINNED = Path(__file__).parent / "corpus.json"


class Warnings(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.seen = []

    def emit(self, record):
        self.seen.append(record.getMessage())


def fetched(url, **_kwargs):
    content = {"script": SCRIPT, "config": CONFIG, "text": b"hello\n"}
    name = url.rsplit("/", 1)[-1]
    if name not in content or not url.startswith(("http://", "https://")):
        raise OSError("no such host")
    return types.SimpleNamespace(contents=content[name], ok=lambda: True)


def executable(text):
    first = text.split("\n", 1)[0]
    return first.startswith("#!") and first[2:].strip() != ""


def classify(data, warnings):
    """Returns a list of [content type, name, whether it has an effect], or
    "error" if cloud-init ends without an effect."""
    with tempfile.TemporaryDirectory() as top:
        source = types.SimpleNamespace(
            get_instance_id=lambda: "i-1", launch_index=0, is_disconnected=False)
        paths = helpers.Paths({"cloud_dir": top, "run_dir": top}, source)
        for name in ("boothooks", "scripts", "handlers"):
            os.makedirs(os.path.join(top, "instances/i-1", name), exist_ok=True)
        os.symlink("instances/i-1", os.path.join(top, "instance"))
        secret = paths.get_runpath("instance_data_sensitive")
        Path(secret).write_text(json.dumps({"v1": {"instance_id": "i-1"}}))
        ran = []
        boot_hook.subp.subp = lambda args, **_: ran.append(Path(args[0]).read_text())
        config = cloud_config.CloudConfigPartHandler(paths)
        script = shell_script.ShellScriptPartHandler(paths)
        known = helpers.ContentHandlers()
        frequency = shell_script_by_frequency.ShellScriptByFreqPartHandler
        for handler in (
            config, script, *(frequency(f, paths) for f in (PER_ALWAYS, PER_INSTANCE, PER_ONCE)),
            boot_hook.BootHookPartHandler(paths, source),
            jinja_template.JinjaTemplatePartHandler(paths, sub_handlers=[config, script]),
        ):
            known.register(handler, overwrite=False)
        for _, handler in known.items():
            handlers.call_begin(handler, None, PER_INSTANCE)
        result = []
        state = {
            "handlers": known, "handlerdir": os.path.join(top, "instances/i-1/handlers"),
            "data": None, "frequency": PER_INSTANCE, "handlercount": 0, "excluded": [],
        }
        sys.path.insert(0, state["handlerdir"])

        def written():
            return {p: p.read_text(errors="replace")
                    for p in Path(top).rglob("*") if p.is_file() and "scripts" in p.parts}

        def each(data, filename, payload, headers):
            warnings.seen.clear()
            ran.clear()
            for path in written():
                path.unlink()
            handlers.walker_callback(data, filename, payload, headers)
            scripts = list(written().values()) + ran
            works = not warnings.seen and (payload or "") != ""
            if headers["Content-Type"] == "text/jinja2":
                works = works and (scripts != [] or filename in config.file_names)
            if not all(map(executable, scripts)):
                works = False
            result.append([headers["Content-Type"], filename, works])

        warnings.seen.clear()
        try:
            message = user_data.UserDataProcessor(paths).process(data)
        except Exception:  # cloud-init runs nothing then
            return "error"
        handlers.walk(message, each, state)
        sys.path.remove(state["handlerdir"])
        for name in [n for n in sys.modules if n.startswith("part-handler-")]:
            del sys.modules[name]
        return result


def main():
    warnings = Warnings()
    log = logging.getLogger()
    log.handlers = [warnings]
    log.setLevel(logging.WARNING)
    user_data.read_file_or_url = fetched
    util.fetch_ssl_details = lambda *_: {}
    answers = {}
    for name, data in (CORPUS | FORMS).items():
        parts = classify(data, warnings)
        answers[name] = {"data": base64.b64encode(data).decode(), "parts": parts}
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in answers.items())
    text = "{\n" + lines + "\n}\n"
    if "--check" not in sys.argv:
        print(text, end="")
        return
    pinned = json.loads(PINNED.read_text())
    different = [name for name in answers if pinned.get(name) != answers[name]]
    if different or set(pinned) != set(answers):
        sys.exit(f"corpus.json differs for {different or 'names'}")
    print(f"{len(answers)} forms of user data: cloud-init agrees with corpus.json")


if __name__ == "__main__":
    main()
