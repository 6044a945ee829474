#!/usr/bin/env python3
"""How well couplings are learnt: samples of known models, `ebm train` by pseudo-likelihood and by persistent chains, the error.

usage: couplings.py EBM [--samples 1000,10000]      needs numpy; EBM is the program
"""
import json
import math
import pathlib
import resource
import struct
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).parent


def lattice(side, coupling):
    j = np.zeros((side * side,) * 2)
    for r in range(side):
        for c in range(side):
            for k in ((r + 1) % side * side + c, r * side + (c + 1) % side):
                j[r * side + c, k] += coupling
                j[k, r * side + c] += coupling
    return j


def complete():
    i, k = np.triu_indices(16, 1)
    j = np.zeros((16, 16))
    j[i, k] = 0.15 * np.sin(1 + 3 * i + 5 * k)
    return j + j.T


def gibbs(j, h, n, rng, sweeps=200):
    s = rng.integers(0, 2, (n, len(h))) * 2.0 - 1
    for _ in range(sweeps):
        for i in range(len(h)):
            s[:, i] = np.where(rng.random(n) < 1 / (1 + np.exp(-2 * (s @ j[i] + h[i]))), 1.0, -1.0)
    return s


def tensors(path):
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + size])
    kinds = {"F32": np.float32, "F64": np.float64}
    return {k: np.frombuffer(raw, kinds[v["dtype"]], offset=8 + size + v["data_offsets"][0],
                             count=math.prod(v["shape"])) for k, v in head.items() if v["dtype"] in kinds}


def learnt(ebm, config, folder, n, batch):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = folder / f"{config}-{n}"
    subprocess.run([ebm, "train", str(folder / f"{config}.toml"), "--out", str(run), "--set", f"run.batch={batch}"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    newest = sorted((run / "checkpoints").iterdir())[-1]
    all_ = tensors(newest / "state.safetensors")
    return all_.get("average.coupling", all_["params.coupling"]), after.ru_utime - before.ru_utime


def main():
    ebm = str(pathlib.Path(sys.argv[1]).resolve())
    sizes = [int(s) for s in sys.argv[3].split(",")] if len(sys.argv) > 3 else [1000, 10000]
    for name, j, h in (("4x4 periodic, J 0.3", lattice(4, 0.3), np.zeros(16)),
                       ("complete graph of 16", complete(), 0.2 * np.cos(2.0 * np.arange(16))),
                       ("8x8 periodic, J 0.3", lattice(8, 0.3), np.zeros(64))):
        i, k = np.triu_indices(len(h), 1)
        for n in sizes:
            x = gibbs(j, h, n, np.random.default_rng(0))
            with tempfile.TemporaryDirectory() as where:
                folder = pathlib.Path(where)
                np.save(folder / "spins.npy", x.astype(np.float32))
                for config in ("couplings", "couplings-pcd"):
                    (folder / f"{config}.toml").write_text((HERE / f"{config}.toml").read_text())
                    # Chains are as many as the batch; all samples are seen in every update but of the largest set.
                    found, seconds = learnt(ebm, config, folder, n, 1000)
                    off = math.sqrt(((found - j[i, k]) ** 2).mean())
                    print(f"{name}, {n} samples, {config}: error of J {off:.4f} = {off * math.sqrt(n):.2f}/sqrt(N), {seconds:.1f} CPU s",
                          flush=True)


main()
