"""Kills trainings whose clock is another year's at each start, and compares with a run under one clock. Needs `faketime`.

clock.py [NUMBER]
"""

import glob
import random
import signal
import sys
import time

from common import Scratch, config, differences, finish, go_on, run, start, told

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 25
rng = random.Random(11)


def some_day():
    # Not by the command `faketime`, which is killed in the program's place.
    day = f"{rng.randint(1975, 2036)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02} {rng.randint(0, 23):02}:30:00"
    return ["env", f"LD_PRELOAD={LIBRARY[0]}", f"FAKETIME=@{day}"]


LIBRARY = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
if not LIBRARY:
    print("clock: needs faketime (apt-get install faketime): not run")
    sys.exit(0)
with Scratch(config(60)) as scratch:
    began = time.time()
    assert run(["train", "run.toml", "--out", "straight"], scratch.path, before=some_day()).returncode == 0
    takes = time.time() - began
    counts, faults = {"runs": COUNT, "kills": 0, "equal": 0}, []
    for trial in range(COUNT):
        name = f"run{trial}"
        go = go_on(name)
        for _ in range(2):
            child = start(go(scratch.path), scratch.path, some_day())
            time.sleep(rng.uniform(0.2, 1) * takes)
            child.send_signal(signal.SIGKILL)
            counts["kills"] += child.wait() == -signal.SIGKILL
        ran = run(go(scratch.path), scratch.path, before=some_day())
        if ran is None or ran.returncode != 0:
            faults.append(f"{name}: {'hangs' if ran is None else told(ran)}")
        elif differ := differences(scratch.path / name, scratch.path / "straight"):
            faults.append(f"{name}: differs in {', '.join(differ)}")
        else:
            counts["equal"] += 1
    finish("changes of the clock", counts, faults)
