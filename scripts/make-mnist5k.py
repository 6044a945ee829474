#!/usr/bin/env python3
"""Makes the embedded files of crates/ebm-data-mnist5k from the four MNIST files.

usage: make-mnist5k.py TRAIN_IMAGES TRAIN_LABELS T10K_IMAGES T10K_LABELS OUT_DIR

Inputs are the original IDX files, plain or gzipped, in any compression: their unpacked content is
checked by SHA-256. Training set: an image is taken while its class has fewer than 500, in file order,
so the 5,000 images stay interleaved as in the original. Held-out set: the first 1,000 of the t10k files.
Nothing is changed in the pixels: all 256 grey levels are kept. The result is packed by zopfli
(pip install numpy zopfli), which writes ordinary gzip; without it gzip -9 is used (about 5 % larger).
"""

import gzip
import hashlib
import struct
import sys
from pathlib import Path

import numpy as np

PER_CLASS, HELD_OUT, SIDE = 500, 1000, 28
SHA256 = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)


def unpacked(path, digest):
    raw = Path(path).read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    found = hashlib.sha256(raw).hexdigest()
    if found != digest:
        raise SystemExit(f"{path}: unpacked content has SHA-256 {found}, expected {digest}")
    return raw


def pack(raw):
    try:
        import zopfli.gzip
    except ImportError:
        print("zopfli is missing: gzip -9 instead", file=sys.stderr)
        return gzip.compress(raw, 9, mtime=0)
    return zopfli.gzip.compress(raw, numiterations=15, blocksplittingmax=0)


def write(folder, name, dims, data):
    raw = struct.pack(f">HBB{len(dims)}I", 0, 8, len(dims), *dims) + data.tobytes()
    packed = pack(raw)
    assert gzip.decompress(packed) == raw
    (folder / name).write_bytes(packed)
    print(f"{name}: {len(packed):,} bytes, unpacked SHA-256 {hashlib.sha256(raw).hexdigest()}")
    return len(packed)


def main():
    if len(sys.argv) != 6:
        raise SystemExit(__doc__)
    ti, tl, hi, hl = (unpacked(p, d) for p, d in zip(sys.argv[1:5], SHA256))
    images, held = (np.frombuffer(r, np.uint8, offset=16).reshape(-1, SIDE, SIDE) for r in (ti, hi))
    labels, held_labels = (np.frombuffer(r, np.uint8, offset=8) for r in (tl, hl))
    rank = np.zeros(len(labels), np.int64)  # how many of its class stand before it
    for c in range(10):
        at = np.flatnonzero(labels == c)
        rank[at] = np.arange(len(at))
    keep = np.flatnonzero(rank < PER_CLASS)
    out = Path(sys.argv[5])
    out.mkdir(parents=True, exist_ok=True)
    total = write(out, "train-images-idx3-ubyte.gz", (len(keep), SIDE, SIDE), images[keep])
    total += write(out, "train-labels-idx1-ubyte.gz", (len(keep),), labels[keep])
    total += write(out, "t10k-images-idx3-ubyte.gz", (HELD_OUT, SIDE, SIDE), held[:HELD_OUT])
    total += write(out, "t10k-labels-idx1-ubyte.gz", (HELD_OUT,), held_labels[:HELD_OUT])
    print(f"total {total:,} bytes; last training image taken: number {keep[-1]} of the original (from 0)")


main()
