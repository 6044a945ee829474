#!/usr/bin/env python3
"""Samplers against known means and second moments, over seeds: does each error lie within what the run itself says of it?

usage: samplers ... --seeds 0,1,...,19 --f64 | scripts/golden-samplers.py

Reads the lines of `examples/plane`'s program `samplers`. Prints for each target and sampler, over all seeds and coordinates: the share of errors
within 1.96 Monte Carlo errors, their root mean square in Monte Carlo errors (1 if both are right), the largest error of a coordinate's mean over
all seeds in its own standard error, divergences, and effective draws (the least over coordinates and squares) per 1000 gradients and per
processor second. Exits 1 if a target that a sampler can follow (no divergence in a thousand moves) has less than 90 % within, or a
coordinate's mean over all seeds off by more than 4.5 errors.
"""
import collections
import json
import math
import sys

runs = collections.defaultdict(list)
for line in sys.stdin:
    r = json.loads(line)
    runs[r["target"], r["sampler"]].append(r)
bad = False
print("| target | sampler | seeds | within 95 % | rms | worst of all seeds | divergent of 1000 | ESS / 1000 gradients | ESS / CPU s |")
print("|---|---|---|---|---|---|---|---|---|")
for (target, sampler), all in runs.items():
    n = len(all)
    scores = [z for r in all for z in r.get("z", []) + r.get("z_squares", [])]
    if len(scores) == 0:
        print(f"| {target} | {sampler} | {n} | no numbers: chains that are not finite |")
        bad = True
        continue
    within = sum(abs(z) <= 1.96 for z in scores) / len(scores)
    rms = math.sqrt(sum(z * z for z in scores) / len(scores))
    columns = list(zip(*(r["z"] + r["z_squares"] for r in all)))
    # Errors of independent runs in units of their own Monte Carlo errors: their mean has the error 1/√n.
    worst = max(abs(sum(c)) / math.sqrt(n) for c in columns)
    moves = sum(r["draws"] * r["chains"] for r in all)
    diverged = 1000 * sum(r.get("divergent", 0) for r in all) / moves
    mean = lambda name: sum(r.get(name, 0) for r in all) / n
    print(f"| {target} | {sampler} | {n} | {100 * within:.1f} % | {rms:.2f} | {worst:.1f} | {diverged:.2f} | "
          f"{mean('ess_per_kgrad'):.1f} | {mean('ess_per_cpu_s'):.0f} |")
    if diverged <= 1.0 and (within < 0.9 or worst > 4.5):
        bad = True
sys.exit(1 if bad else 0)
