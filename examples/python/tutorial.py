"""The tutorial of the book's chapter "From Python": train, ask, sample, measure. Prints the same on every run.

Run it in a new folder: `python tutorial.py`. It takes well under a minute on two cores.
"""

import numpy as np

import ebm_candle as ebm

# --- 1. An energy of your own samples ------------------------------------------------------------------------------
# Two half moons; a network learns them by denoising score matching, which needs no sampler while it trains.
rng = np.random.default_rng(0)


def moons(n):
    angle = np.pi * rng.random(n)
    upper = rng.random(n) < 0.5
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle))
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
    return (np.stack([x - 0.5, y - 0.25], 1) + 0.1 * rng.normal(size=(n, 2))).astype(np.float32)


data, held_out = moons(4000), moons(1000)
settings = {
    "format": 1,
    "run": {"name": "moons", "steps": 600, "batch": 128, "seed": 0},
    "energy": {"kind": "mlp", "hidden": [64, 64], "activation": "swish", "first_scale": 3.0},
    "objective": {"kind": "denoising-score-matching", "sigma": 0.1},
    "optimiser": {"kind": "adam", "rate": 0.003, "average": 0.99},
    "sampler": {"kind": "chain", "steps": 300, "transition": {"kind": "mala", "step_size": 0.01}},
    "chains": {"from": "data"},
}
run = ebm.train(settings, data=data, out="runs/moons")
print("trained:", run.outcome, "after", run.step, "steps")

# --- 2. What it says of points ----------------------------------------------------------------------------------------
model = run.load()
print(model)
energy, gradient = model.slope(held_out)
print("energies", energy.shape, "gradients", gradient.shape, gradient.dtype)
v = np.ones_like(held_out)
print("curvature along (1, 1):", round(float((v * model.hvp(held_out, v)).sum(1).mean()), 1))

# --- 3. Outsiders -------------------------------------------------------------------------------------------------------
noise = rng.uniform(-2, 2, size=(1000, 2)).astype(np.float32)
found = ebm.detection(-model.energy(held_out), -model.energy(noise))
print("moons against noise: AUROC", round(found.auroc, 2))

# --- 4. Samples, and how near they are ----------------------------------------------------------------------------------
samples = model.sample(1000, seed=1)
print("samples", samples.shape)
print("MMD² of samples", round(ebm.mmd(samples, held_out).mmd2, 3), "of noise", round(ebm.mmd(noise, held_out).mmd2, 3))
ebm.picture(samples, background=data).save("samples.png")

# --- 5. log Z on the plane ------------------------------------------------------------------------------------------------
# An energy learnt by its slopes is known up to a constant; the integral normalises it.
try:
    integral = ebm.quadrature(model, spread=data.std(0), places=data[:200])
    print("log density of held-out points:", round(float(-model.energy(held_out).mean() - integral.log_z), 1))
except ebm.EbmError as e:
    print("not normalised:", e)

# --- 6. A sampler on an energy of your own --------------------------------------------------------------------------------
# Any function that returns energies and gradients: here a ring of radius 2.


def ring(x):
    radius = np.sqrt((x**2).sum(1))
    return 4 * (radius - 2) ** 2, (8 * (radius - 2) / radius)[:, None] * x


target = ebm.from_function(ring, shape=(2,))
start = rng.normal(size=(4, 2))
chains = ebm.sample(target, start, {"kind": "nuts"}, draws=1000, burn_in=500)
radius = np.sqrt((chains.x**2).sum(2))
print(chains)
print("mean radius", round(float(radius.mean()), 1), "R-hat", round(float(ebm.rhat(radius)), 2))

# --- 7. A sampler on an energy of the framework -----------------------------------------------------------------------------
banana = ebm.energy({"kind": "banana", "sd": 2.0, "bend": 0.2}, shape=(2,))
nuts = ebm.sample(banana, rng.normal(size=(4, 2)), {"kind": "nuts"}, draws=1000, burn_in=500)
print("banana: over 200 effective draws", bool((nuts.ess > 200).all()), "R-hat below 1.05", bool((nuts.rhat < 1.05).all()))

# --- 8. What is wrong is said ---------------------------------------------------------------------------------------------
try:
    ebm.energy({"kind": "banana", "bend": "much"}, shape=(2,))
except ebm.EbmError as e:
    print(e)
