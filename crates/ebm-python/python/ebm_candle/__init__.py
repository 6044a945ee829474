"""Energy-based models: trained, sampled and measured, on NumPy arrays.

An energy ``E(x)`` of samples ``x``, in nats, is an unnormalised density ``exp(-E(x))``: low energy means likely.

    import ebm_candle as ebm

    run = ebm.train(changes=["run.steps=200"], out="runs/first")  # the built-in quick start
    model = run.load()                                            # or ebm.load("runs/first")
    x = model.sample(64)                                          # (64, 1, 8, 8)
    energy, gradient = model.slope(x)                             # (64,), (64, 1, 8, 8)
    ebm.picture(x)                                                # shown by a notebook

Arrays go in as NumPy arrays, or as anything that speaks DLPack (tensors of PyTorch, arrays of JAX) and lies on the CPU;
they come out as NumPy arrays, which ``torch.from_dlpack`` and ``jax.dlpack.from_dlpack`` take as they are. The
interpreter's lock is free while anything is computed. What is refused is an :class:`EbmError`.
"""

from ._chains import Chains, ess, rhat, sample, summarise
from ._energy import Energy, Model, Scores, energy, from_function, from_torch, load
from ._measures import (
    Detection,
    Integral,
    LogZ,
    Mmd,
    detection,
    frechet,
    log_z,
    mmd,
    quadrature,
)
from ._native import EbmError, __version__
from ._picture import Picture, picture
from ._train import Run, resume, train

__all__ = [
    "Chains",
    "Detection",
    "EbmError",
    "Energy",
    "Integral",
    "LogZ",
    "Mmd",
    "Model",
    "Picture",
    "Run",
    "Scores",
    "__version__",
    "detection",
    "energy",
    "ess",
    "frechet",
    "from_function",
    "from_torch",
    "load",
    "log_z",
    "mmd",
    "picture",
    "quadrature",
    "resume",
    "rhat",
    "sample",
    "summarise",
    "train",
]
