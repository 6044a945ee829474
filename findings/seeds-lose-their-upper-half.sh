#!/usr/bin/env bash
# PyTorch and JAX take seeds of 64 bits and use the lower 32, so that a thousand chains can be one.
#
# `torch.manual_seed` (and `Generator.manual_seed`) accepts up to 2^64 and seeds the generator of the processor with the lower half; `jax.random.key`
# does the same unless 64 bits are enabled. Seeds that pack two numbers, `chain << 32 | step`, then give every chain the same numbers, and the
# spread over chains that R-hat and standard errors stand on is 0. No warning; PyTorch's generator reports the whole seed as `initial_seed()`,
# and JAX's documentation has "a 64- or 32-bit integer". NumPy uses all bits. Seen with torch 2.15.0, jax 0.10.2, numpy 2.4.6, Python 3.11.
#
# For us: seeds, steps and chains count with all of their 64 bits (`Key`).
source "$(dirname "$0")/lib.sh"
packages python3 torch==2.15.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
python - <<'P'
import jax
import numpy as np
import torch

seeds = [chain << 32 | 7 for chain in range(1000)]


def by_torch(seed):
    generator = torch.Generator().manual_seed(seed)
    assert generator.initial_seed() == seed
    return torch.rand(4, generator=generator).tolist()


def different(draw):
    return len({tuple(draw(seed)) for seed in seeds})


found = {
    "torch": different(by_torch),
    "jax": different(lambda seed: jax.random.key_data(jax.random.key(seed)).tolist()),
    "numpy": different(lambda seed: np.random.default_rng(seed).random(4).tolist()),
}
jax.config.update("jax_enable_x64", True)
found["jax with 64 bits"] = different(lambda seed: jax.random.key_data(jax.random.key(seed)).tolist())
print("different streams of 1,000 seeds:", found)
assert found == {"torch": 1, "jax": 1, "numpy": 1000, "jax with 64 bits": 1000}, "this has changed"
P
