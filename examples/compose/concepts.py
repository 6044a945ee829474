#!/usr/bin/env python3
"""Labelled sets of single concepts out of dSprites, with combinations kept out of all of them.

    examples/compose/concepts.py dsprites.npz OUT

dsprites.npz is the published file (dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz; Matthey, Higgins, Hassabis, Lerchner
2017). Writes OUT/train-images (IDX, 32×32, means of 2×2) with OUT/train-CONCEPT labels for the energies, and OUT/all-images
with OUT/all-CONCEPT for the classifiers. Concepts:

    shape   square, ellipse, heart
    scale   small, middle, large (two of the six sizes each)
    angle   upright (within 14° of a multiple of 90°), tilted (within 14° of 45° off one); others are left out
    place   a cell of a 3×3 grid of the centre, row after row

`train` has no image whose (shape, place) has (shape + place) % 3 == 0, and none whose (scale, angle) is (middle, tilted):
those pairs are new to every energy. (Pairs are left out so that one concept tells little of the other; with small ones
never tilted and large ones never upright, an energy of the angle learns the size.) `all` has every combination. Needs numpy.
"""

import gzip
import sys
from pathlib import Path

import numpy as np

CONCEPTS = {"shape": 3, "scale": 3, "angle": 2, "place": 9}
COUNT = {"train": 20000, "all": 30000}


def labels(classes):
    """Labels of latents `(n, 6)`: colour, shape, size, orientation of 40, x of 32, y of 32; -1 where there is none."""
    turn = classes[:, 3] * 360 / 39  # 0 and 360 are both in the file
    off = np.abs((turn + 45) % 90 - 45)  # degrees to the nearest multiple of 90
    return {
        "shape": classes[:, 1],
        "scale": classes[:, 2] // 2,
        "angle": np.where(off <= 14, 0, np.where(off >= 31, 1, -1)),
        "place": (classes[:, 5] * 3 // 32) * 3 + classes[:, 4] * 3 // 32,
    }


def held_out(of):
    """Which combinations no energy sees."""
    shape_place = (of["shape"] + of["place"]) % 3 == 0
    return shape_place | ((of["scale"] == 1) & (of["angle"] == 1))


def write(path, array):
    head = b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes()
    with gzip.GzipFile(path, "wb", mtime=0) as f:
        f.write(head + array.astype("u1").tobytes())


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    with np.load(source, allow_pickle=True, encoding="latin1") as z:
        images, classes = z["imgs"], z["latents_classes"]
    of = labels(classes)
    clear = of["angle"] >= 0
    out.mkdir(parents=True, exist_ok=True)
    for part, wanted in [("train", clear & ~held_out(of)), ("all", clear)]:
        rows = np.flatnonzero(wanted)
        rows = np.sort(np.random.default_rng(0).choice(rows, COUNT[part], replace=False))
        np.random.default_rng(1).shuffle(rows)
        small = images[rows].reshape(-1, 32, 2, 32, 2).mean((2, 4)) * 255
        write(out / f"{part}-images-idx3-ubyte.gz", small.round())
        for name in CONCEPTS:
            write(out / f"{part}-{name}-idx1-ubyte.gz", of[name][rows])
        print(f"{part}: {len(rows)} of {wanted.sum()} images")


if __name__ == "__main__":
    main()
