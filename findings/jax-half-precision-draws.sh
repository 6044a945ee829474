#!/usr/bin/env bash
# JAX: of a thousand equally likely categories in bfloat16, 98 in a hundred draws fall into the first half.
#
# `jax.random.categorical` adds Gumbel noise in the type of the logits and takes the first of the largest. In bfloat16 the largest of a thousand
# tie, so it is nearly always an early one; in float16 it is 62 in a hundred. With ten categories the first is 7 in a hundred likelier than the last.
# `bernoulli(0.001)` in bfloat16 is true in 0.0078, and no normal number exceeds 2.9 (in float16 3.5). No warning; the documentation
# speaks of single precision. A Gibbs or Potts sampler that takes logits as a network gives them has another law. `logits.astype(float32)` helps.
# Seen with jax 0.10.2 on the processor, Python 3.11.
#
# For us: conditional probabilities, accept tests and noise are computed in single or double precision, whatever the network has.
source "$(dirname "$0")/lib.sh"
packages python3 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
python - <<'P'
import jax
import jax.numpy as jnp
import numpy as np

key = jax.random.key(0)
first, true, largest = {}, {}, {}
for dtype in (jnp.float32, jnp.float16, jnp.bfloat16):
    name = jnp.dtype(dtype).name
    draws = np.asarray(jax.random.categorical(key, jnp.zeros(1000, dtype), shape=(20_000,)))
    first[name] = float((draws < 500).mean())
    true[name] = float(np.asarray(jax.random.bernoulli(key, jnp.asarray(0.001, dtype), (1_000_000,))).mean())
    normal = jax.random.normal(key, (1_000_000,), dtype).astype(jnp.float32)
    largest[name] = float(jnp.abs(normal).max())
    print(f"{name}: first half {first[name]:.3f}, 0.001 is true in {true[name]:.4f}, largest normal {largest[name]:.2f}")
ten = np.bincount(np.asarray(jax.random.categorical(key, jnp.zeros(10, jnp.bfloat16), shape=(200_000,))))
print("ten categories in bfloat16:", (ten / 200_000).round(4).tolist())
assert abs(first["float32"] - 0.5) < 0.02 and abs(true["float32"] - 0.001) < 2e-4, "this has changed"
assert first["bfloat16"] > 0.95 and first["float16"] > 0.58 and ten[0] > 1.04 * ten[9], "this has changed"
assert true["bfloat16"] > 0.005 and largest["bfloat16"] < 3 < 4.5 < largest["float32"], "this has changed"
P
