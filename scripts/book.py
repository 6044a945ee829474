#!/usr/bin/env python3
"""Runs the commands of README and book in their order, in an empty folder, and compares what they print with the page.

    scripts/book.py --ebm PROGRAM [--python PYTHON] [--long] [--data DIR] [--page WORD] [--from WORD] [--keep DIR]

A block of commands or of Python has a comment in the line before it which says what becomes of it:

    <!-- book: run -->              run, and what the block shows after a line `$ command` must be printed
    <!-- book: printed -->          the block is what the block before it printed
    <!-- book: file NAME -->        the block is this file, which later commands read
    <!-- book: skip REASON -->      not run; the reason is printed

After `run` may stand, in this order: `long` (only with `--long`: minutes or more, or a build), `within 5%` (numbers within that share
of what the page shows; after `printed`, too), `needs A,B` (left out where a file or folder is missing, or of Python a package, such as
`torch` or `arviz==0.23`), and `adding WORDS` (stand at the end of the first line, for what would take too long as it is written; what
the page shows is then not compared).

`…` stands for any words left out. Files of the repository are there as in a clone; folders that commands write are those of
earlier pages. `--data` names a folder that stands there as `data`, for sets that have to be fetched. Programs of the repository are
built with the profile of the tests, also where the page has `--release`. `--python` is an interpreter that has the package `ebm_candle`,
and is what `python3` starts; without it blocks of Python are left out.

Every command between backticks in a sentence must name a subcommand and options that there are. Rust stands in the book as
`{{#include}}` of files that are compiled, and what a chapter quotes of the conformance kit stands in `faults.md`.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from book_pages import BLOCK, COMMAND, INCLUDE, ROOT, compare, inline, pages, quoted, steps

SECONDS = 3600


def folder(keep, ebm, python, data):
    """An empty folder with the files of the repository, and an environment in which `ebm` is the program."""
    work = pathlib.Path(keep or tempfile.mkdtemp(prefix="ebm-book-"))
    work.mkdir(parents=True, exist_ok=True)
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in sorted({line.split("/")[0] for line in listed if line} - {".gitignore"}):
        if not (work / name).exists():
            (work / name).symlink_to(ROOT / name)
    if data and not (work / "data").exists():
        (work / "data").symlink_to(data.resolve())
    programs = work / ".programs"
    programs.mkdir(exist_ok=True)
    for name, text in {
        "ebm": f'#!/bin/sh\nexec "{ebm}" "$@"\n',
        # The program is built; what `cargo run` of the repository's root would do is to start it. Nothing is built a second time for
        # another profile.
        "cargo": f"""#!/bin/bash
if [ "$1 $2 $3" = "run --release --" ]; then shift 3; exec "{ebm}" "$@"; fi
if [ "$*" = "test --workspace" ]; then echo "left to .ci/run"; exit; fi
PATH="${{PATH#*:}}"
if [ -e Cargo.toml ] && [ ! -L Cargo.toml ]; then exec cargo "$@"; fi
words=("${{@:2}}")
for at in "${{!words[@]}}"; do
    case "${{words[at]}} ${{words[at + 1]}}" in
        "--release "*) unset "words[at]" ;;
        "--profile release") words[at + 1]=dev ;;
    esac
done
words=("${{words[@]}}")
[[ " $* " == *" --manifest-path "* ]] || words=(--manifest-path "{ROOT}/Cargo.toml" "${{words[@]}}")
exec cargo "$1" "${{words[@]}}"
""",
        **({"python3": f'#!/bin/sh\nexec "{python}" "$@"\n'} if python else {}),
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (work / "target/release").mkdir(parents=True, exist_ok=True)
    if not (work / "target/release/ebm").exists():
        (work / "target/release/ebm").symlink_to(ebm)
    return work, {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "COLUMNS": "200"}


class Directive:
    """What the comment before a block says."""

    def __init__(self, text):
        self.what, _, rest = text.partition(" ")
        self.rest = rest
        self.adding = rest.partition("adding ")[2]
        words = rest.partition("adding ")[0].split()
        self.long = "long" in words
        self.share = float(words[words.index("within") + 1].rstrip("%")) / 100 if "within" in words else 0.0
        self.needs = words[words.index("needs") + 1].split(",") if "needs" in words else []


def lacks(python, names):
    """Of packages such as `torch` or `arviz==0.23` those that an interpreter has not; of a version the beginning counts."""
    code = """import importlib.metadata as m, sys
for name in sys.argv[1:]:
    package, _, version = name.partition("==")
    try: there = (m.version(package) + ".").startswith(version + "." if version else "")
    except m.PackageNotFoundError: there = False
    if not there: print(name)"""
    done = subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=True)
    return done.stdout.split()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ebm", required=True, type=pathlib.Path, help="the built program")
    parser.add_argument("--python", help="an interpreter that has the package ebm_candle")
    parser.add_argument("--long", action="store_true", help="run long blocks, too")
    parser.add_argument("--data", type=pathlib.Path, help="a folder with sets, such as mnist with its four files")
    parser.add_argument("--page", default="", help="only pages whose path has this word")
    parser.add_argument("--from", default="", dest="first", help="go on at the first page whose path has this word, in the folder of --keep")
    parser.add_argument("--keep", help="work in this folder and leave it")
    options = parser.parse_args()
    ebm = str(options.ebm.resolve())
    # A link to an interpreter is its environment: it is not resolved.
    python = options.python and os.path.abspath(shutil.which(options.python) or options.python)
    work, env = folder(options.keep, ebm, python, options.data)
    faults, helps, ran, printed, begun = [], {}, 0, None, False
    faults_page = (ROOT / "book/src/design/faults.md").read_text()

    def fault(text):
        """Told at once, and with all others at the end: a run of hours may be stopped."""
        faults.append(text)
        print(text, flush=True)

    def run(place, line, title):
        """What a command prints and its exit code; `None` if it does not end."""
        nonlocal ran
        ran += 1
        began = time.monotonic()
        try:
            done = subprocess.run(line, cwd=work, env=env, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace")
        except subprocess.TimeoutExpired:
            fault(f"{place}: took more than {SECONDS} s: {title}")
            return None
        print(f"{place}: {time.monotonic() - began:6.1f} s  {title}", flush=True)
        return done

    def check(place, done, title, shown, share):
        """Holds what was printed against what the page shows."""
        fails = bool(shown) and re.search(r"^error", shown, re.M) is not None
        tail = "\n    ".join(done.stdout.splitlines()[-12:])
        if (done.returncode != 0) != fails:
            fault(f"{place}: exit code {done.returncode}: {title}\n    {tail}")
        elif shown and (missing := compare(shown, done.stdout, share)) is not None:
            fault(f"{place}: {title}: not printed: {missing}\n    {tail}")

    for path in pages():
        page = path.relative_to(ROOT)
        text = path.read_text()
        faults += inline(page, text, ebm, helps)
        faults += quoted(page, text, faults_page)
        begun = begun or options.first in str(page)
        if not begun or options.page not in str(page):
            continue
        for block in BLOCK.finditer(text):
            kind, body = block["kind"].split(",")[0], block["body"]
            place = f"{page}:{text.count(chr(10), 0, block.start('kind')) + 1}"
            if not block["what"]:
                if kind == "python" or kind in ("sh", "text", "console", "bash", "") and COMMAND.search(body):
                    fault(f"{place}: commands, and no comment `book:` before them says what becomes of them")
                continue
            told = Directive(block["what"])
            if told.what == "file":
                (work / told.rest).parent.mkdir(parents=True, exist_ok=True)
                (work / told.rest).write_text(body)
                continue
            if told.what == "printed":
                if printed and printed.returncode == 0:
                    check(place, printed, "the block before", body, told.share)
                continue
            printed = None
            if told.what not in ("run", "skip"):
                fault(f"{place}: `book: {block['what']}`: the first word is none of run, printed, file, skip")
                continue
            if told.what == "skip" or (told.long and not options.long):
                print(f"{place}: left out: {told.rest}")
                continue
            if kind == "python" and not python:
                print(f"{place}: left out: no --python")
                continue
            there = lacks(python, told.needs) if kind == "python" else [n for n in told.needs if not (work / n).exists()]
            if there:
                print(f"{place}: left out: needs {', '.join(there)}")
                continue
            if kind == "python":
                body = INCLUDE.sub(lambda found: (path.parent / found[1]).read_text(), body)
                title = next(line for line in body.splitlines() if line.strip())
                if printed := run(place, [python, "-c", body], title):
                    check(place, printed, title, None, 0.0)
                continue
            for number, (command, shown) in enumerate(steps(kind, body)):
                if number == 0 and told.adding:
                    first, _, others = command.partition("\n")
                    command, shown = f"{first} {told.adding}\n{others}", None
                title = command.splitlines()[0]
                if printed := run(place, ["bash", "-eo", "pipefail", "-c", command], title):
                    check(place, printed, command, shown, told.share)
    print(f"{ran} commands run, {len(faults)} faults")
    print("\n".join(faults))
    if not options.keep:
        shutil.rmtree(work)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
