"""Kills a training at random moments, and its continuation up to twice, and compares what it ends with to a run that was left alone.

kills.py [NUMBER] [SEED]
"""

import random
import sys

from common import killed_runs

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 100
rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)

killed_runs("kills at random moments", COUNT, lambda takes: [rng.uniform(0, takes) for _ in range(rng.randint(1, 3))])
