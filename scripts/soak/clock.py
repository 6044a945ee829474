"""Kills trainings whose clock is another year's at each start, and compares with a run under one clock. Needs `faketime`.

clock.py [NUMBER]
"""

import glob
import random
import sys

from common import killed_runs

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
killed_runs("changes of the clock", COUNT, lambda takes: [rng.uniform(0.2, 1) * takes for _ in range(2)], some_day)
