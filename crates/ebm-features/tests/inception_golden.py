"""Figures of tests/whole/inception.rs from pytorch-fid's own network (numpy, torch, torchvision, pytorch-fid).

usage: python tests/inception_golden.py

Weights and image come from splitmix64 by the formulas of tests/whole/inception.rs, so nothing but the outputs is stored.
"""
import numpy as np
import torch
import torchvision
from golden_numbers import uniforms


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
