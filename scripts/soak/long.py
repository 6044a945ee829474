"""A long run under kills, full disks and damage at once, which must end with the bytes of one that was left alone; its memory over
20,000 steps; two programs on one run.

long.py [MINUTES]
"""

import random
import resource
import shutil
import signal
import subprocess
import sys
import time

from common import EBM, Scratch, config, differences, finish, go_on, run, start, told

MINUTES = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
rng = random.Random(5)


def full(kilobytes):
    """No file may grow beyond this, as on a disk that is full."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, kilobytes << 10))

    return limit


def rss(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1])


def lines(path):
    return path.read_text().count("\n") if path.exists() else 0


def spoil(directory):
    """Cuts a file of the newest of several checkpoints: the one before it is still there."""
    folders = sorted((directory / "checkpoints").glob("step-*"))
    if len(folders) > 1:
        file = rng.choice(sorted(folders[-1].iterdir()))
        data = file.read_bytes()
        file.write_bytes(data[: rng.randrange(len(data))])
        return True
    return False


def long_run(counts, faults):
    with Scratch(config(400, every=10, keep=3)) as scratch:
        began = time.time()
        assert run(["train", "run.toml", "--out", "straight"], scratch.path, 600).returncode == 0
        takes = time.time() - began
        while time.time() - began < MINUTES * 60:
            shutil.rmtree(scratch.path / "run", ignore_errors=True)
            go = go_on()
            for _ in range(rng.randint(2, 6)):
                misfortune = rng.choice(["kill", "kill", "full", "damage"])
                if misfortune == "full":
                    limited = subprocess.run(
                        [EBM, *go(scratch.path)],
                        cwd=scratch.path,
                        capture_output=True,
                        preexec_fn=full(rng.randint(1, 60)),
                        check=False,
                    )
                    counts["full disks"] += limited.returncode != 0
                else:
                    child = start(go(scratch.path), scratch.path)
                    time.sleep(rng.uniform(0, takes))
                    child.send_signal(signal.SIGKILL)
                    counts["kills"] += child.wait() == -signal.SIGKILL
                    if misfortune == "damage":
                        counts["damages"] += spoil(scratch.path / "run")
            ran = run(go(scratch.path), scratch.path, 600)
            counts["runs"] += 1
            if ran is None or ran.returncode != 0:
                faults.append("hangs" if ran is None else told(ran))
            elif differ := differences(scratch.path / "run", scratch.path / "straight"):
                faults.append(f"differs in {', '.join(differ)}")
            else:
                counts["equal"] += 1


def memory(counts, faults):
    with Scratch(config(20000, every=2000).replace("every = 4", "every = 400").replace("every = 3,", "every = 300,")) as scratch:
        child, seen = start(["train", "run.toml", "--out", "run"], scratch.path), {}
        metrics = scratch.path / "run/metrics.jsonl"
        while child.poll() is None:
            step = lines(metrics)
            try:
                seen[step] = rss(child.pid)
            except (OSError, StopIteration):
                break
            time.sleep(0.1)
        child.wait()
        # A sheet that is drawn takes more for a moment, and so does the end: what is held between them counts.
        early = [kb for step, kb in seen.items() if 1500 <= step <= 5000]
        late = [kb for step, kb in seen.items() if 15000 <= step < 20000]
        counts["KiB after some thousand steps"] = min(early, default=0)
        counts["KiB after 15,000 to 20,000"] = min(late, default=0)
        if not late or min(late) > 1.1 * min(early, default=0):
            faults.append(f"memory grows, or was not seen: {early} {late}")


def two(counts, faults):
    with Scratch(config(100000, every=50000)) as scratch:
        first = start(["train", "run.toml", "--out", "run"], scratch.path)
        while not (scratch.path / "run/metrics.jsonl").exists():
            time.sleep(0.05)
        second = run(["resume", "run"], scratch.path)
        counts["second programs refused"] = int(second.returncode == 2 and "another program" in second.stderr)
        if not counts["second programs refused"]:
            faults.append(f"a second program: exit {second.returncode}, {told(second)}")
        first.terminate()
        if first.wait() != 130:
            faults.append("the first program did not end as told")


counts, faults = {"runs": 0, "kills": 0, "full disks": 0, "damages": 0, "equal": 0}, []
two(counts, faults)
memory(counts, faults)
long_run(counts, faults)
finish(f"{MINUTES:g} minutes", counts, faults)
