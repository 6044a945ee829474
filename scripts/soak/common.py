"""What the parts of the soak share: running the program, a small run with every observer, equality of runs."""

import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EBM = os.environ.get("EBM", "ebm")

# Points and pictures are both small; all observers look at every few steps, none at the same ones.
CONFIG = """
format = 1
run = { name = "soak", steps = STEPS, batch = 8, report_every = 3 }
data = { kind = "digits" }
energy = { kind = "mlp", hidden = [8] }
sampler = { kind = "chain", steps = 3, transition = { kind = "langevin", step_size = 1.0, noise = 0.03, clamp = [0.0, 1.0] } }
replay = { kind = "random-overwrite", capacity = 200 }
chains = { fill = "start" }
objective = { kind = "contrastive", energy_l2 = 1.0 }
optimiser = { kind = "adam", rate = 1e-3, average = 0.99 }
generate = { steps = 3, count = 9 }
observer = [
  { kind = "jsonl" },
  { kind = "csv", every = 2, columns = ["energy.data", "grad"] },
  { kind = "histogram", every = 3, rows = 8, bins = 4 },
  { kind = "tensorboard", every = 2, histograms = 3, sheets = 4, rows = 8, count = 4 },
  { kind = "sheet", every = 4, count = 4, what = "both" },
]
policy = [{ kind = "checkpoint", every = EVERY, keep = KEEP }]
"""


def config(steps, every=2, keep=2):
    text = CONFIG.replace("STEPS", str(steps)).replace("EVERY", str(every))
    return text.replace("KEEP", str(keep))


class Scratch:
    """A folder that goes away."""

    def __init__(self, text=""):
        self.path = Path(tempfile.mkdtemp(prefix="soak-"))
        (self.path / "run.toml").write_text(text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


def limited(gigabytes):
    def limit():
        size = int(gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (size, size))

    return limit


def run(arguments, folder, seconds=120, gigabytes=None, before=()):
    """Ran to its end, or `None` if it takes longer than that."""
    try:
        return subprocess.run(
            [*before, EBM, *map(str, arguments)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            preexec_fn=limited(gigabytes) if gigabytes else None,
        )
    except subprocess.TimeoutExpired:
        return None


def start(arguments, folder, before=()):
    quiet = subprocess.DEVNULL
    return subprocess.Popen([*before, EBM, *map(str, arguments)], cwd=folder, stdin=quiet, stdout=quiet, stderr=quiet)


def go_on(name="run"):
    """The command that goes on with whatever a killed program left."""
    return lambda folder: ["resume", name] if (folder / name / "config.toml").exists() else ["train", "run.toml", "--out", name]


def without_clocks(values):
    return {k: v for k, v in values.items() if not k.startswith("seconds")}


def fields(data):
    """Numbers and values of a protocol buffer's message."""
    at = 0

    def integer():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = integer()
        kind = key & 7
        if kind == 0:
            yield key >> 3, integer()
        else:
            size = {1: 8, 5: 4}.get(kind) or integer()
            yield key >> 3, data[at : at + size]
            at += size


def tensorboard(folder):
    """Step, tag and value of everything in the event files, in their order."""
    found = []
    for path in sorted(folder.iterdir()):
        data, at = path.read_bytes(), 0
        while at + 12 <= len(data):
            size = struct.unpack("<Q", data[at : at + 8])[0]
            event = dict(fields(data[at + 12 : at + 12 + size]))
            at += size + 16
            for number, value in fields(event.get(5, b"")):
                tag = dict(fields(value))[1].decode()
                if number == 1 and not tag.startswith("seconds"):
                    found.append((event.get(2, 0), tag, value))
    return found


def what(path):
    """What of a file must be the same in two runs."""
    name = path.name
    if name == "metrics.jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [(line["step"], line["of"], without_clocks(line["values"])) for line in lines]
    if name == "summary.json":
        all_ = json.loads(path.read_text())
        last = without_clocks(all_["last"]["values"])
        return [all_["outcome"], all_["step"], all_["skipped"], last, all_["checkpoint"]]
    if name == "tensorboard":
        return tensorboard(path)
    return path.read_bytes()


def files(directory):
    """Everything in a run directory that a reader sees, event files as one."""
    found = set()
    for path in directory.rglob("*"):
        below = path.relative_to(directory)
        if below.parts[0] == "tensorboard":
            found.add("tensorboard")
        elif path.is_file() and below.name != ".lock":
            found.add(str(below))
    return found


def differences(directory, other):
    """Names of what is not the same in two runs."""
    mine, theirs = files(directory), files(other)
    differ = sorted(mine ^ theirs)
    for name in sorted(mine & theirs):
        try:
            same = what(directory / name) == what(other / name)
        except (OSError, ValueError, KeyError, IndexError, struct.error) as e:
            same = False
            name = f"{name} ({type(e).__name__})"
        if not same:
            differ.append(name)
    return differ


def told(ran):
    """The last line that a program said."""
    lines = [line for line in (ran.stderr or "").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def finish(name, counts, faults):
    """Prints the counts of a part and ends it."""
    print(f"{name}: " + ", ".join(f"{value} {key}" for key, value in counts.items()), flush=True)
    for fault in faults[:40]:
        print(f"  FAULT {fault}", flush=True)
    sys.exit(1 if faults else 0)


def killed_runs(title, count, pauses, before=tuple):
    """Kills trainings, each after the `pauses` that are made of the seconds of a whole run, continues them, and compares with a run
    that was left alone. Each start of the program stands behind the command that `before` gives."""
    with Scratch(config(60)) as scratch:
        began = time.time()
        assert run(["train", "run.toml", "--out", "straight"], scratch.path, before=before()).returncode == 0
        takes = time.time() - began
        counts, faults = {"runs": count, "kills": 0, "equal": 0}, []
        for trial in range(count):
            name = f"run{trial}"
            go = go_on(name)
            for pause in pauses(takes):
                child = start(go(scratch.path), scratch.path, before())
                time.sleep(pause)
                child.send_signal(signal.SIGKILL)
                counts["kills"] += child.wait() == -signal.SIGKILL
            ran = run(go(scratch.path), scratch.path, before=before())
            if ran is None or ran.returncode != 0:
                faults.append(f"{name}: {'hangs' if ran is None else told(ran)}")
            elif differ := differences(scratch.path / name, scratch.path / "straight"):
                faults.append(f"{name}: differs in {', '.join(differ)}")
            else:
                counts["equal"] += 1
        finish(title, counts, faults)
