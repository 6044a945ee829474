"""Damages every file of a finished run in several ways, and reads it: nothing may be taken for whole that is not.

damage.py [ROUNDS]: bits and cuts at so many places, 6 without it.
"""

import random
import shutil
import sys

from common import Scratch, config, differences, files, finish, run, told

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 6
rng = random.Random(7)


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])


def bit(path):
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def zeros(path):
    data = path.read_bytes()
    at = rng.randrange(len(data))
    path.write_bytes(data[:at] + bytes(min(64, len(data) - at)) + data[at + 64 :])


def empty(path):
    path.write_bytes(b"")


def gone(path):
    path.unlink()


def line(path):
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    path.write_bytes(b"".join(lines))


def folder(path):
    path.unlink()
    path.mkdir()


# Text for people has no digest: a digit that became another is another number, and nobody can tell.
TEXT = ["metrics.jsonl", "metrics.csv", "summary.json"]
UNTOLD = {(name, bit) for name in TEXT} | {("metrics.csv", zeros)}


def unread(command, file, damage):
    """Whether the command does not look at what was damaged: earlier pictures as a whole, and files that a run need not have."""
    inside = damage in (bit, zeros) and file.startswith("sheets/") and command == "resume"
    # Healthy states are read when a run goes back to one.
    return inside or file.startswith("healthy/")


def words(file):
    """What a message may call a file by: its name, the folder of its checkpoint, its kind of picture, the event files."""
    first, *rest = file.split("/")
    if first == "checkpoints":
        return [rest[0]]
    if first == "sheets":
        kind = rest[0].split("-")[0]
        return [rest[0], f"sheets/{kind}", f"picture of {kind}"]
    return ["tensorboard"] if first == "tensorboard" else [file, *(["no summary"] if file == "summary.json" else [])]

COMMANDS = {
    "resume": ["resume", "run", "--steps", "16"],
    "sample": ["sample", "run", "--n", "4", "--out", "out.npy"],
    "score": ["score", "run", "given.npy"],
    "report": ["report", "run", "--out", "out.html"],
}


def result(name, ran, scratch):
    """What a command came to."""
    if name == "score":
        return ran.stdout
    out = scratch.path / {"sample": "out.npy", "report": "out.html"}.get(name, "none")
    return out.read_bytes() if out.exists() else None


with Scratch(config(12)) as scratch:
    here = scratch.path
    # In two parts, so that there are event files in the middle.
    assert run(["train", "run.toml", "--out", "whole", "--steps", "7"], here).returncode == 0
    assert run(["resume", "whole", "--steps", "12"], here).returncode == 0
    assert run(["sample", "whole", "--n", "4", "--out", "given.npy"], here).returncode == 0
    wanted = {}
    for name, command in COMMANDS.items():
        shutil.rmtree(here / "run", ignore_errors=True)
        shutil.copytree(here / "whole", here / "run")
        ran = run(command, here)
        assert ran.returncode == 0, told(ran)
        wanted[name] = result(name, ran, scratch)
        if name == "resume":
            shutil.copytree(here / "run", here / "resumed")
    names = sorted(files(here / "whole") - {"tensorboard"})
    names += [f"tensorboard/{path.name}" for path in (here / "whole/tensorboard").iterdir()]
    counts = {"damages": 0, "told": 0, "without effect": 0, "of what has no digest": 0, "of what is not read": 0}
    faults = []
    for file in names:
        lines = [line] * ROUNDS if file.endswith((".jsonl", ".csv")) else []
        for damage in [cut, bit, zeros] * ROUNDS + [empty, gone, folder] + lines:
            name = rng.choice(list(COMMANDS)) if damage in (cut, bit, zeros) else None
            for command in [name] if name else COMMANDS:
                for left in ("run", "out.npy", "out.html"):
                    path = here / left
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
                shutil.copytree(here / "whole", here / "run")
                damage(here / "run" / file)
                counts["damages"] += 1
                title = f"{command} of {file}, {damage.__name__}"
                ran = run(COMMANDS[command], here)
                if ran is None:
                    faults.append(f"{title}: hangs")
                    continue
                found = result(command, ran, scratch)
                same = found == wanted[command]
                if command == "resume" and ran.returncode == 0:
                    same = not differences(here / "run", here / "resumed")
                page = found.decode(errors="replace") if command == "report" and found else ""
                says = ran.stdout + ran.stderr + page
                if ran.returncode not in (0, 1, 2, 3) or "a fault of this program" in ran.stderr:
                    faults.append(f"{title}: exit {ran.returncode}, {told(ran)}")
                elif ran.returncode != 0:
                    counts["told"] += 1
                elif same:
                    counts["without effect"] += 1
                elif any(word in says for word in words(file)):
                    counts["told"] += 1
                elif (file, damage) in UNTOLD:
                    counts["of what has no digest"] += 1
                elif unread(command, file, damage):
                    counts["of what is not read"] += 1
                else:
                    faults.append(f"{title}: silent, {differences(here / 'run', here / 'resumed') if command == 'resume' else ''}")
    finish("damages", counts, faults)
