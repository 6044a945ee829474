#!/usr/bin/env python3
"""Runs the commands of README and book in their order, in an empty folder, and compares what they print with the page.

    scripts/book.py --ebm PROGRAM [--long] [--page WORD] [--keep DIR]

A block of commands has a comment in the line before it which says what becomes of it:

    <!-- book: run -->            run, and what the block shows after a line `$ command` must be printed
    <!-- book: run within 5% -->  the same, numbers within that share of what the page shows
    <!-- book: run long -->       the same, but only with `--long`: minutes or more, or a build
    <!-- book: file NAME -->      the block is this file, which later commands read
    <!-- book: skip REASON -->    not run; the reason is printed

`…` stands for any words left out. Files of the repository are there as in a clone; folders that commands write are those of
earlier pages. Every command between backticks in a sentence must name a subcommand and options that there are.
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

ROOT = pathlib.Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(?:^<!-- book: (?P<what>.*?) -->\n)?^```(?P<kind>[^\n]*)\n(?P<body>.*?)^```", re.M | re.S)
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
COMMAND = re.compile(r"^(\$ |ebm |cargo |scripts/|examples/|benches/|python3? |pip |venv/|mpirun |torchrun )", re.M)
SECONDS = 3600


def pages():
    """README, then the chapters in their order."""
    yield ROOT / "README.md"
    for name in re.findall(r"\]\(([^)]+\.md)\)", (ROOT / "book/src/SUMMARY.md").read_text()):
        yield ROOT / "book/src" / name


def steps(kind, body):
    """Commands of a block, each with what the page shows of its output, or None."""
    if not body.startswith("$ "):
        return [(body, None)] if kind in ("sh", "text") else []
    found, lines = [], body.splitlines()
    at = 0
    while at < len(lines):
        command = lines[at][2:]
        while command.endswith("\\"):
            at += 1
            command = command[:-1] + lines[at].strip()
        at += 1
        shown = []
        while at < len(lines) and not lines[at].startswith("$ "):
            shown.append(lines[at])
            at += 1
        found.append((command, "\n".join(shown) if shown else None))
    return found


def same(shown, printed, share):
    """Whether one printed word is the shown one, its numbers within a share of it."""
    if shown == printed:
        return True
    a, b = NUMBER.findall(shown), NUMBER.findall(printed)
    if share == 0 or NUMBER.sub("#", shown) != NUMBER.sub("#", printed):
        return False
    # Of what is shown the last digit may be off by one.
    digits = [10.0 ** -len(x.partition(".")[2].partition("e")[0]) for x in a]
    return all(abs(float(x) - float(y)) <= max(share * abs(float(x)), d * 1.001) for x, y, d in zip(a, b, digits))


def compare(shown, printed, share):
    """None if `printed` is as shown, else what was not found."""
    parts = [part.split() for part in re.split(r"…|\.\.\.", shown)]
    words, at = printed.split(), 0
    for index, part in enumerate(parts):
        if not part:
            continue
        places = range(at, len(words) - len(part) + 1)
        if index == 0:
            places = places[:1]
        if index == len(parts) - 1:
            places = [p for p in places if p + len(part) == len(words)]
        fits = (p for p in places if all(same(s, w, share) for s, w in zip(part, words[p:])))
        place = next(fits, None)
        if place is None:
            return " ".join(part)
        at = place + len(part)
    return None


def inline(page, text, ebm, helps):
    """Commands in sentences whose subcommand or options there are not."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    for command in re.findall(r"^    ((?:ebm |cargo |scripts/|examples/|benches/|python3? ).*)$", prose, re.M):
        yield f"{page}: `{command}`: stands indented, where nothing says what becomes of it; fence it"
    for command in re.findall(r"`(ebm [^`]+)`", prose):
        words = command.replace("\n", " ").split()
        names = []
        for word in words[1:]:
            if not re.fullmatch(r"[a-z][a-z-]*", word) or len(names) == 2:
                break
            names.append(word)
        while names and tuple(names) not in helps:
            done = subprocess.run([ebm, *names, "--help"], capture_output=True, text=True)
            # A word that is no subcommand is an argument of the one before.
            usage = re.search(r"^Usage: \S+(.*)$", done.stdout, re.M)
            if done.returncode == 0 and usage and usage.group(1).split()[: len(names)] == names:
                helps[tuple(names)] = done.stdout
            else:
                names.pop()
        if not names:
            if len(words) > 1 and re.fullmatch(r"[a-z]+", words[1]):
                yield f"{page}: `{command}`: there is no such subcommand"
            continue
        for option in re.findall(r"(?<!\S)(--[a-z][a-z-]*)", command):
            if option not in helps[tuple(names)]:
                yield f"{page}: `{command}`: ebm {' '.join(names)} has no {option}"


def folder(keep, ebm):
    """An empty folder with the files of the repository, and an environment in which `ebm` is the program."""
    work = pathlib.Path(keep or tempfile.mkdtemp(prefix="ebm-book-"))
    work.mkdir(parents=True, exist_ok=True)
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in sorted({line.split("/")[0] for line in listed if line} - {".gitignore"}):
        if not (work / name).exists():
            (work / name).symlink_to(ROOT / name)
    programs = work / ".programs"
    programs.mkdir(exist_ok=True)
    for name, text in {
        "ebm": f'#!/bin/sh\nexec "{ebm}" "$@"\n',
        # The program is built; what `cargo run` of the repository's root would do is to start it.
        "cargo": f"""#!/bin/bash
if [ "$1 $2 $3" = "run --release --" ]; then shift 3; exec "{ebm}" "$@"; fi
if [ "$*" = "test --workspace" ]; then echo "left to .ci/run"; exit; fi
PATH="${{PATH#*:}}"
if [ -e Cargo.toml ] && [ ! -L Cargo.toml ]; then exec cargo "$@"; fi
exec cargo "$1" --manifest-path "{ROOT}/Cargo.toml" "${{@:2}}"
""",
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (work / "target/release").mkdir(parents=True, exist_ok=True)
    if not (work / "target/release/ebm").exists():
        (work / "target/release/ebm").symlink_to(ebm)
    return work, {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "COLUMNS": "200"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ebm", required=True, type=pathlib.Path, help="the built program")
    parser.add_argument("--long", action="store_true", help="run long blocks, too")
    parser.add_argument("--page", default="", help="only pages whose path has this word")
    parser.add_argument("--keep", help="work in this folder and leave it")
    options = parser.parse_args()
    ebm = str(options.ebm.resolve())
    work, env = folder(options.keep, ebm)
    faults, helps, ran = [], {}, 0
    for path in pages():
        page = path.relative_to(ROOT)
        text = path.read_text()
        faults += inline(page, text, ebm, helps)
        if options.page not in str(page):
            continue
        for block in BLOCK.finditer(text):
            what, kind, body = (block["what"] or "").split(), block["kind"].split(",")[0], block["body"]
            place = f"{page}:{text.count(chr(10), 0, block.start('kind')) + 1}"
            if not what:
                if kind in ("sh", "text", "console", "bash", "") and COMMAND.search(body):
                    faults.append(f"{place}: commands, and no comment `book:` before them says what becomes of them")
                continue
            if what[0] == "file":
                (work / what[1]).parent.mkdir(parents=True, exist_ok=True)
                (work / what[1]).write_text(body)
                continue
            if what[0] == "skip" or ("long" in what and not options.long):
                print(f"{place}: left out: {' '.join(what[1:])}")
                continue
            share = float(what[what.index("within") + 1].rstrip("%")) / 100 if "within" in what else 0.0
            for command, shown in steps(kind, body):
                ran += 1
                began = time.monotonic()
                line = ["bash", "-eo", "pipefail", "-c", command]
                try:
                    done = subprocess.run(line, cwd=work, env=env, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL,
                                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace")
                except subprocess.TimeoutExpired:
                    faults.append(f"{place}: took more than {SECONDS} s: {command}")
                    continue
                took = time.monotonic() - began
                fails = bool(shown) and re.search(r"^error", shown, re.M) is not None
                print(f"{place}: {took:6.1f} s  {command.splitlines()[0]}", flush=True)
                tail = "\n    ".join(done.stdout.splitlines()[-12:])
                if (done.returncode != 0) != fails:
                    faults.append(f"{place}: exit code {done.returncode}: {command}\n    {tail}")
                elif shown and (missing := compare(shown, done.stdout, share)) is not None:
                    faults.append(f"{place}: {command}: not printed: {missing}\n    {tail}")
    print(f"{ran} commands run, {len(faults)} faults")
    print("\n".join(faults))
    if not options.keep:
        shutil.rmtree(work)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
