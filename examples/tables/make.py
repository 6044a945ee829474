"""Writes the three tables of this folder and prints what a model of them is held against, in nats a sample, in the tables' units.

    python make.py

The rows are drawn from laws that are written down here, so the true held-out log-likelihood is known of the first two. The last
column is that of a normal law with mean and covariance of the training rows. Needs numpy and scipy.
"""

import numpy as np
from scipy import stats
from scipy.special import logsumexp

rng = np.random.default_rng(7)


def write(name, header, rows, form):
    with open(name, "w") as out:
        out.write(",".join(header) + "\n")
        for row in rows:
            out.write(",".join(f.format(v) for f, v in zip(form, row)) + "\n")


def normal_law(train, held):
    law = stats.multivariate_normal(train.mean(0), np.cov(train.T))
    return law.logpdf(held).mean()


def split(rows, every=5):
    out = np.arange(len(rows)) % every == 0
    return rows[~out], rows[out]


# Eruptions of a geyser: minutes of waiting, seconds of eruption, in two sorts.
parts = [
    (0.35, [54.0, 125.0], [[34.0, 25.0], [25.0, 300.0]]),
    (0.65, [80.0, 258.0], [[36.0, 60.0], [60.0, 600.0]]),
]
sorts = rng.choice(2, 2000, p=[p[0] for p in parts])
geyser = np.array([rng.multivariate_normal(parts[s][1], parts[s][2]) for s in sorts]).round(2)
write("geyser.csv", ["waiting_min", "eruption_s"], geyser, ["{:.2f}"] * 2)
train, held = split(geyser)
each = [np.log(w) + stats.multivariate_normal(m, c).logpdf(held) for w, m, c in parts]
print("geyser", "true", logsumexp(each, axis=0).mean().round(3), "normal", normal_law(train, held).round(3))

# Trees: kind, age, height, girth, density of the wood.
kinds = {"birch": (0.3, 20.0, 24.0, 640.0), "oak": (0.25, 60.0, 30.0, 720.0), "pine": (0.45, 35.0, 34.0, 510.0)}
names = list(kinds)


def height(age, top):
    return top * (1.0 - np.exp(-age / 25.0))


def log_density(x, kind):
    share, scale, top, wood = kinds[kind]
    age, tall, girth, dense = x.T
    return (
        np.log(share)
        + stats.gamma(3.0, scale=scale / 3.0).logpdf(age)
        + stats.norm(height(age, top), 1.5).logpdf(tall)
        + stats.lognorm(0.15, scale=22.0 * age**0.8).logpdf(girth)
        + stats.norm(wood, 25.0).logpdf(dense)
    )


rows = []
for name in rng.choice(names, 2500, p=[kinds[n][0] for n in names]):
    _, scale, top, wood = kinds[name]
    age = rng.gamma(3.0, scale / 3.0)
    tall = height(age, top) + 1.5 * rng.normal()
    girth = 22.0 * age**0.8 * np.exp(0.15 * rng.normal())
    rows.append((name, age, tall, girth, wood + 25.0 * rng.normal()))
with open("trees.csv", "w") as out:
    out.write("kind,age_y,height_m,girth_mm,wood_kg_m3\n")
    for name, *numbers in rows:
        out.write(name + "," + ",".join(f"{v:.{d}f}" for v, d in zip(numbers, [2, 2, 1, 1])) + "\n")
trees = np.array([r[1:] for r in rows])
train, held = split(trees)
each = [log_density(held, name) for name in names]
print("trees", "true", logsumexp(each, axis=0).mean().round(3), "normal", normal_law(train, held).round(3))

# The level of a lake that swings, pushed by wind that is calm or gusty.
level = np.zeros(6200)
for t in range(2, len(level)):
    push = rng.normal() * (0.4 if rng.random() < 0.8 else 2.5)
    level[t] = 1.6 * level[t - 1] - 0.85 * level[t - 2] + push
level = (120.0 + 3.0 * level[200:]).round(1)
write("lake.csv", ["level_cm"], level[:, None], ["{:.1f}"])
windows = lambda x: np.lib.stride_tricks.sliding_window_view(x, 6)
print("lake", "normal", normal_law(windows(level[:-1200]), windows(level[-1200:])).round(3))
