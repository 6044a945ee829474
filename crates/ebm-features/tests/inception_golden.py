"""Figures of tests/inception.rs from pytorch-fid's own network (numpy, torch, torchvision, pytorch-fid).

usage: python tests/inception_golden.py

Weights and image come from splitmix64 by the formulas of tests/inception.rs, so nothing but the outputs is stored.
"""
import numpy as np
import torch
import torchvision


def splitmix(i):
    with np.errstate(over="ignore"):
        z = i * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniforms(name, n):
    """In [-1, 1): 24 bits, from the FNV-1a hash of the name."""
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = ((h ^ b) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    with np.errstate(over="ignore"):
        bits = splitmix(np.uint64(h) + np.arange(n, dtype=np.uint64)) >> np.uint64(40)
    return bits.astype(np.float64) / 8388608.0 - 1.0


def weight(name, shape):
    u = uniforms(name, int(np.prod(shape)))
    if name.endswith("running_var"):
        v = 1 + 0.5 * u
    elif len(shape) == 1 and name.endswith("weight"):
        v = 1 + 0.1 * u
    elif len(shape) == 1:
        v = 0.1 * u
    else:
        v = u * np.sqrt(6.0 / np.prod(shape[1:]))
    return torch.from_numpy(v.astype(np.float32).reshape(shape))


torchvision.models.Inception3.load_state_dict = lambda self, state: None
import pytorch_fid.inception as published  # noqa: E402

published.load_state_dict_from_url = lambda *a, **k: {}
network = published.fid_inception_v3().eval()
with torch.no_grad():
    for name, t in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            t.copy_(weight(name, tuple(t.shape)))
published.fid_inception_v3 = lambda: network
features = published.InceptionV3().eval()
image = ((uniforms("image", 3 * 40 * 36) + 1) / 2).astype(np.float32)
image = torch.from_numpy(np.floor(image * 256) / np.float32(255)).float().reshape(1, 3, 40, 36)
with torch.no_grad():
    f = features(image)[0].reshape(-1)
    p = torch.softmax(network.fc(f), 0)
f = f.double().numpy()
print("torch", torch.__version__, "torchvision", torchvision.__version__)
print("features", [float(v) for v in f[::256]])
print("weighted", float((f * (np.arange(2048) + 1)).sum()), "square", float((f ** 2).sum()))
print("probabilities", float(p.max()), int(p.argmax()))
