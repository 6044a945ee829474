"""Kills a training at random moments, and its continuation up to twice, and compares what it ends with to a run that was left alone.

kills.py [NUMBER] [SEED]
"""

import random
import signal
import sys
import time

from common import Scratch, config, differences, finish, go_on, run, start, told

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 100
rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)

with Scratch(config(60)) as scratch:
    began = time.time()
    assert run(["train", "run.toml", "--out", "straight"], scratch.path).returncode == 0
    takes = time.time() - began
    counts, faults = {"runs": COUNT, "kills": 0, "equal": 0}, []
    for trial in range(COUNT):
        name = f"run{trial}"
        go = go_on(name)
        for _ in range(rng.randint(1, 3)):
            child = start(go(scratch.path), scratch.path)
            time.sleep(rng.uniform(0, takes))
            child.send_signal(signal.SIGKILL)
            counts["kills"] += child.wait() == -signal.SIGKILL
        ran = run(go(scratch.path), scratch.path)
        if ran is None or ran.returncode != 0:
            faults.append(f"{name}: {'hangs' if ran is None else told(ran)}")
        elif differ := differences(scratch.path / name, scratch.path / "straight"):
            faults.append(f"{name}: differs in {', '.join(differ)}")
        else:
            counts["equal"] += 1
    finish("kills at random moments", counts, faults)
