#!/usr/bin/env python3
"""How time and memory of a training step grow with batch, filters, image side, threads, steps of the chain, rows of the buffer and
parts of a composition: `ebm bench` on the paper's CIFAR-10 network at one scale. usage: scaling.py EBM [ROUNDS]

Each value is run once a round, the values in turn; a row has medians. `growth` is the exponent between the last two values: 1 is
proportional, 0 none."""
import json, math, os, statistics, subprocess, sys, tempfile

from versus import images


def energy(filters, parts):
    one = f'{{ kind = "cifar-resnet", filters = {filters}, attention = false }}'
    if parts == 1:
        return one
    return f'{{ kind = "sum", parts = [{", ".join(f"{{ name = {chr(34)}p{i}{chr(34)}, energy = {one} }}" for i in range(parts))}] }}'


def bench(ebm, folder, filters=16, batch=32, side=32, threads=None, steps=10, rows=0, parts=1):
    images(os.path.join(folder, "images.npy"), side, max(128, batch))
    config = os.path.join(folder, "case.toml")
    buffer = f'replay = {{ kind = "random-overwrite", capacity = {rows} }}\nchains = {{ fill = "start" }}' if rows else 'chains = { from = "fresh" }'
    with open(config, "w") as f:
        f.write(f"""format = 1
data = {{ kind = "npy", path = "images.npy" }}
energy = {energy(filters, parts)}
sampler = {{ kind = "chain", steps = {steps}, transition = {{ kind = "langevin", step_size = 100.0, clamp = [0.0, 1.0] }} }}
{buffer}
objective = {{ kind = "contrastive", energy_l2 = 1.0 }}
optimiser = {{ kind = "adam", rate = 1e-4 }}
run = {{ batch = {batch}, report_every = 0 }}
""")
    env = {**os.environ, **({"EBM_THREADS": str(threads)} if threads else {})}
    out = subprocess.run([ebm, "bench", config, "--json", "--warm", "1", "--timed", "5", "--log", "error"], env=env,
                         capture_output=True, text=True, check=True).stdout
    r = json.loads(out)
    share = 100 * r["sampler_gflops"] / r["peak_gflops"] if r["sampler_gflops"] else math.nan
    return r["langevin_step_s"] * 1e3, r["step_s"] * 1e3, r["peak_rss_mib"], share


def table(name, values, rounds, run):
    all = [[run(v) for v in values] for _ in range(rounds)]
    cells = [[statistics.median(r[i][k] for r in all) for i in range(len(values))] for k in range(4)]
    print(f"\n| {name} | " + " | ".join(map(str, values)) + " | growth |\n" + "|---" * (len(values) + 2) + "|")
    for title, row, digits in zip(["Langevin step, ms", "training step, ms", "peak, MiB", "share of the peak, %"], cells, [2, 1, 0, 0]):
        growth = math.log(row[-1] / row[-2]) / math.log(values[-1] / values[-2]) if digits or title[0] == "p" else math.nan
        end = "" if math.isnan(growth) else f"{growth:.2f}"
        print(f"| {title} | " + " | ".join(f"{v:.{digits}f}" for v in row) + f" | {end} |", flush=True)


with tempfile.TemporaryDirectory() as folder:
    ebm, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    for name, values, key, more in [
        ("batch (F 16)", [2, 8, 32, 128], "batch", {}),
        ("filters (B 32)", [8, 16, 32, 64], "filters", {}),
        ("image side (F 16, B 32)", [12, 16, 32, 48, 64], "side", {}),
        ("threads (F 16, B 32)", [1, 2], "threads", {}),
        ("threads (F 64, B 32)", [1, 2], "threads", {"filters": 64}),
        ("steps of the chain (F 16, B 32)", [10, 20, 40, 80], "steps", {}),
        ("rows of the buffer (F 16, B 32)", [1000, 4000, 16000, 64000], "rows", {}),
        ("parts of a sum (F 16, B 32)", [1, 2, 4, 8], "parts", {}),
    ]:
        table(name, values, rounds, lambda v: bench(ebm, folder, **{key: v}, **more))
