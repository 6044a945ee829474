#!/usr/bin/env python3
"""How the time of a sampler step grows with batch, filters, image side and threads: `ebm bench` on the paper's CIFAR-10
network at one scale. usage: scaling.py EBM"""
import json, os, subprocess, sys, tempfile

from versus import images


def step(ebm, folder, filters=16, batch=32, side=32, threads=None):
    images(os.path.join(folder, "images.npy"), side, 128)
    config = os.path.join(folder, "case.toml")
    with open(config, "w") as f:
        f.write(f"""format = 1
data = {{ kind = "npy", path = "images.npy" }}
energy = {{ kind = "cifar-resnet", filters = {filters}, attention = false }}
sampler = {{ kind = "chain", steps = 10, transition = {{ kind = "langevin", step_size = 100.0, clamp = [0.0, 1.0] }} }}
chains = {{ from = "fresh" }}
objective = {{ kind = "contrastive", energy_l2 = 1.0 }}
optimiser = {{ kind = "adam", rate = 1e-4 }}
run = {{ batch = {batch}, report_every = 0 }}
""")
    env = {**os.environ, **({"EBM_THREADS": str(threads)} if threads else {})}
    out = subprocess.run([ebm, "bench", config, "--json", "--warm", "1", "--timed", "5", "--log", "error"], env=env,
                         capture_output=True, text=True, check=True).stdout
    r = json.loads(out)
    return r["langevin_step_s"] * 1e3, 100 * r["sampler_gflops"] / r["peak_gflops"]


def table(name, values, run):
    print(f"\n| {name} | " + " | ".join(map(str, values)) + " |\n" + "|---" * (len(values) + 1) + "|")
    rows = [run(v) for v in values]
    print("| ms a step | " + " | ".join(f"{ms:.2f}" for ms, _ in rows) + " |")
    print("| share of the peak, % | " + " | ".join(f"{share:.0f}" for _, share in rows) + " |", flush=True)


with tempfile.TemporaryDirectory() as folder:
    ebm = sys.argv[1]
    table("batch (F 16)", [2, 8, 32, 128], lambda b: step(ebm, folder, batch=b))
    table("filters (B 32)", [8, 16, 32, 64], lambda f: step(ebm, folder, filters=f))
    table("image side (F 16, B 32)", [12, 16, 32, 48, 64], lambda s: step(ebm, folder, side=s))
    table("threads (F 16, B 32)", [1, 2], lambda t: step(ebm, folder, threads=t))
    table("threads (F 64, B 32)", [1, 2], lambda t: step(ebm, folder, filters=64, threads=t))
