"""What scripts/book.py reads of README and book, without running anything: pages, blocks, what is shown, and what stands nowhere else."""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(?:^<!-- book: (?P<what>.*?) -->\n)?^```(?P<kind>[^\n]*)\n(?P<body>.*?)^```", re.M | re.S)
INCLUDE = re.compile(r"\{\{#include ([^:}\s]+)(?::([^}\s]*))?\}\}")
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
COMMAND = re.compile(r"^(\$ |ebm |cargo |scripts/|examples/|benches/|python3? |pip |venv/|mpirun |torchrun )", re.M)


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
    digits = [10.0 ** (int(x.partition("e")[2] or 0) - len(x.partition("e")[0].partition(".")[2])) for x in a]
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


def quoted(page, text, faults_page):
    """Rust that is not of a compiled file, includes of what is not there, and faults that the kit's page has not."""
    for kind, body in re.findall(r"^```(rust[^\n]*)\n(.*?)^```", text, re.M | re.S):
        if page.name != "README.md" and (kind != "rust" or INCLUDE.sub("", body).strip()):
            yield f"{page}: ```{kind}: Rust that nothing compiles; include it from a file of the tests: {body.splitlines()[0]}"
    for name, part in INCLUDE.findall(text):
        file = (ROOT / page).parent / name
        if not file.is_file():
            yield f"{page}: includes {name}, which is not there"
        elif part[:1].isdigit() and name.endswith(".rs"):
            yield f"{page}: includes {name} by its lines, which move; give the part an anchor"
        elif part and not re.fullmatch(r"[\d:]*", part) and f"ANCHOR: {part}\n" not in file.read_text():
            yield f"{page}: includes {part!r} of {name}, which has no such anchor"
    table = re.search(r"^\| fault \| what the kit says \|.*?\n\n", text + "\n\n", re.M | re.S)
    if page.parent.name == "traits" and table:
        for row in table.group(0).splitlines()[2:]:
            if not row.startswith("|"):
                continue
            fault, says = (cell.strip() for cell in row.split(" | ")[:2])
            if not any(f"{fault[1:]} | {says.rstrip('…').strip()}" in line for line in faults_page.splitlines()):
                yield f"{page}: quotes the kit's answer to{fault[1:]} otherwise than faults.md has it"
