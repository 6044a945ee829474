"""The numbers that tests/known makes, for the programs that print the figures of other implementations."""
import numpy as np


def splitmix(i):
    with np.errstate(over="ignore"):
        z = i * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniforms(name, n):
    """`n` in [-1, 1): 24 bits, from the FNV-1a hash of the name."""
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = ((h ^ b) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    with np.errstate(over="ignore"):
        bits = splitmix(np.uint64(h) + np.arange(n, dtype=np.uint64)) >> np.uint64(40)
    return bits.astype(np.float64) / 8388608.0 - 1.0
