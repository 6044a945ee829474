#!/usr/bin/env python3
"""Trains a small energy on eight classes of CIFAR-10 with several seeds and asks each run what it takes for outside.

    examples/detect/cifar10.py DATA [--out DIR] [--ebm PROGRAM] [--seeds 0,1,2] [--steps N] [--count N]

DATA has the folders `cifar10` (the six binary files) and as many as are there of `textures` and `photos` (pictures, cut into
32×32), `faces/images.npy` (grey faces) and `sprites/images-idx3-ubyte.gz` (rendered shapes); these are resized. Resumable as
run.py, and writes DIR/table.md and DIR/table.json. Needs Python 3.9 and nothing else.
"""

import argparse
import json
from pathlib import Path

import run

NAME = "cifar10, 8 classes"
FOLDERS = {
    "textures": ("textures", "image-folder:root={},patch=[32,32]"),
    "photos": ("photos", "image-folder:root={},patch=[32,32]"),
    "faces": ("faces/images.npy", "{}"),
    "sprites": ("sprites/images-idx3-ubyte.gz", "{}"),
}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("data", type=Path)
    p.add_argument("--out", type=Path, default=Path("runs/detect-cifar10"))
    p.add_argument("--ebm", default="ebm", help="the program")
    p.add_argument("--seeds", type=lambda s: [int(x) for x in s.split(",")], default=[0, 1, 2])
    p.add_argument("--steps", type=int, help="updates of each run; as configured without it")
    p.add_argument("--count", type=int, default=2000, help="images of each set")
    a = p.parse_args()
    root = (a.data / "cifar10").resolve()
    if not (root / "test_batch.bin").is_file():
        p.error(f"{root}: wanted CIFAR-10 in its binary version, data_batch_1.bin to test_batch.bin")
    a.out.mkdir(parents=True, exist_ok=True)
    # Cats and trucks, which examples/detect/cifar10.toml leaves out of training.
    others = {"classes held out": f"cifar10:root={root},only=[3,9]"}
    for name, (place, source) in FOLDERS.items():
        path = (a.data / place).resolve()
        if path.exists():
            others[name] = source.format(path)
        else:
            print(f"cifar10.py: without {name}: {path} is not there")
    found = {}
    for seed in a.seeds:
        trained = run.train(a, "cifar10", seed, run.HERE / "cifar10.toml", f"data.root={json.dumps(str(root))}")
        run.add(found, NAME, others, run.evaluate(a, trained, others.values()))
        run.write(a, found)
    print((a.out / "table.md").read_text(), end="")


if __name__ == "__main__":
    main()
