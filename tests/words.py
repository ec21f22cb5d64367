#!/usr/bin/env python3
"""Counts phrases that the project does not use, and fails if there is one.

    tests/words.py [PATH]...     files or directories; all tracked files if none

CONTRIBUTING.md explains the words. A phrase is found across the line breaks of
comments, Markdown and string literals, in any case unless its pattern has a
capital letter.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Pattern, an example that it must find, and what to write instead.
PHRASES = [
    (r"aloud", "accepted aloud", "`and logs it`, `with a warning`"),
    (r"anew|afresh", "makes it anew", "`again`, `recreates`"),
    (r"nobody|no one", "nobody knows", "name the subject: `no user`, `the caller`"),
    (r"somebody|someone|anybody|anyone", "somebody else", "`another user`, `another process`"),
    (r"(?<!there )(?:is|are|was|were)\s(?-i:none)", "a key that is none", "`missing`, `invalid`, `there is no key`"),
    (
        r"(?<!there )(is|are|was|were) no (?!longer|more|less|such)[a-z]+",
        "that is no error",
        "`is not a`",
    ),
    (r"gave|gives? back|given back", "what it gave", "`returned`, `printed`, `the value of`"),
    (r"Gives", "Gives a map", "`Returns`"),
    (r"by now", "gone by now", "`already`, or leave it out"),
    (r"told", "the caller is told", "`reports`, `is known`, `is asked to`"),
    (r"said", "what it said", "`reported`, `message`, `output`"),
    (r"(pass|passes|passed|passing) over", "passed over", "`skips`, `skipped`"),
    (r"(take|takes|taken|took) away", "is taken away", "`removes`, `removed`"),
    (r"(goes|go|went) on", "the run goes on", "`continues`"),
    (r"without a word", "failed without a word", "`without a message`"),
    (r"in vain", "asked in vain", "`without success`"),
    (r"(come|comes|came) by", "has come by", "`reached`"),
    (r"comes? to nothing", "comes to nothing", "`fails`"),
    (r"bother(ed|s)?", "is bothered", "leave it out"),
    (r"nowhere else", "and nowhere else", "`only here`"),
    (r"is (thereby|hereby|hence)", "is thereby", "a sentence of its own"),
    (r"nothing (knows|proves|is known)", "nothing proves", "`does not mean that`"),
]

# Where a phrase stays, and why: path, text around it.
ALLOWED = [
    # The license's own text.
    ("LICENSE-MIT", "Permission is hereby granted"),
    (".ci/debian/copyright", "Permission is hereby granted"),
    # The system account of this name.
    ("userdata/app.sh", "User=nobody"),
    # These two are about the phrases.
    ("tests/words.py", ""),
    ("CONTRIBUTING.md", ""),
]

BREAK = re.compile(r"[ \t]*\\?\n[ \t]*(?:(?://[/!]?|#|\*|>)[ \t]*)?")
BINARY = {".png", ".svg", ".lock", ".ico"}


def compiled(pattern):
    flags = 0 if re.search(r"[A-Z]", pattern) else re.IGNORECASE
    # In names of functions an underscore stands for the space.
    return re.compile(rf"(?<![A-Za-z])(?:{pattern})(?![A-Za-z])".replace(" ", "[ _]"), flags)


def tracked():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def under(path):
    return [p for p in sorted(path.rglob("*")) if p.is_file()] if path.is_dir() else [path]


def joined(text):
    """The text with each line break as one space, and the line of each offset."""
    out, lines, line, last = [], [], 1, 0
    for found in BREAK.finditer(text):
        piece = text[last : found.start()] + " "
        out.append(piece)
        lines.extend([line] * len(piece))
        line += 1
        last = found.end()
    out.append(text[last:])
    lines.extend([line] * len(text[last:]))
    return "".join(out), lines


def allowed(name, around):
    return any(name == path and text in around for path, text in ALLOWED)


def faults(name, text):
    flat, lines = joined(text)
    for pattern, _, instead in PHRASES:
        for found in compiled(pattern).finditer(flat):
            around = flat[max(0, found.start() - 40) : found.end() + 40]
            if not allowed(name, around):
                yield lines[found.start()], found.group(), instead, around.strip()


def check_the_patterns():
    """Each pattern finds its example, also where lines are broken."""
    for pattern, example, _ in PHRASES:
        for between in (" ", "\n    /// ", "\n# ", " \\\n        "):
            text = "x " + between.join(example.split(" "))
            if not compiled(pattern).search(joined(text)[0]):
                sys.exit(f"tests/words.py: {pattern} does not find {text!r}")


def main():
    check_the_patterns()
    named = [pathlib.Path(argument).resolve() for argument in sys.argv[1:]]
    files = [file for path in named for file in under(path)] if named else tracked()
    count = read = 0
    for path in sorted(files):
        if path.suffix in BINARY or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a sample of bytes, not text
        read += 1
        name = path.relative_to(ROOT).as_posix()
        for line, phrase, instead, around in faults(name, text):
            count += 1
            print(f"{name}:{line}: `{phrase}`: write {instead}\n    {around}")
    if read == 0 or (not named and read < 500):
        sys.exit(f"tests/words.py: only {read} files were read")
    print(f"{count} phrases in {read} files", file=sys.stderr)
    sys.exit(1 if count else 0)


main()
