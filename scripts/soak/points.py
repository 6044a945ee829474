"""Kills a short training, and a continuation of its end, at every system call that changes a file, by strace, and compares what
the continuation ends with to a run that was left alone.

points.py [EVERY]: every so manyth call, 1 without it.
"""

import shutil
import signal
import sys

from common import Scratch, config, differences, finish, go_on, run, told

EVERY = int(sys.argv[1]) if len(sys.argv) > 1 else 1
CALLS = ["rename", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "fsync", "fdatasync", "ftruncate", "write", "linkat"]


def traced(call, number):
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]


def points(scratch, title, arguments, prepare, counts, faults):
    """Kills `arguments` at every point; `prepare` makes the run directory that it begins with."""
    for call in CALLS:
        number = 1
        while True:
            directory = scratch.path / "run"
            shutil.rmtree(directory, ignore_errors=True)
            prepare(directory)
            cut = run(arguments, scratch.path, before=traced(call, number))
            if cut is None:
                faults.append(f"{title}, {call} {number}: hangs")
                break
            if cut.returncode not in (-signal.SIGKILL, 128 + signal.SIGKILL):
                break
            counts["points"] += 1
            ran = run(go_on()(scratch.path), scratch.path)
            if ran is None or ran.returncode != 0:
                faults.append(f"{title}, {call} {number}: {'hangs' if ran is None else told(ran)}")
            elif differ := differences(directory, scratch.path / "straight"):
                faults.append(f"{title}, {call} {number}: differs in {', '.join(differ)}")
            else:
                counts["equal"] += 1
            number += EVERY
        print(f"{title}, {call}: {(number - 1) // EVERY} points", flush=True)


counts, faults = {"points": 0, "equal": 0}, []
for keep in (2, 1):
    with Scratch(config(5, keep=keep)) as scratch:
        assert run(["train", "run.toml", "--out", "straight"], scratch.path).returncode == 0

        def ended(directory):
            """All steps are done, and nothing of the end is there."""
            shutil.copytree(scratch.path / "straight", directory)
            for name in ("summary.json", "samples.png", "measures.json"):
                (directory / name).unlink()

        points(scratch, f"train, keep = {keep}", ["train", "run.toml", "--out", "run"], lambda _: None, counts, faults)
        points(scratch, f"resume, keep = {keep}", ["resume", "run"], ended, counts, faults)
finish("crash points", counts, faults)
