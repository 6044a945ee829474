"""Figures of tests/whole/ops.rs from torch: a small network with each operation of a description.

usage: python tests/ops_golden.py

Weights and image come from splitmix64 by the formulas of tests/whole/ops.rs, so nothing but the outputs is stored. TensorFlow's
`SAME` is padding by hand here, an odd pixel at the bottom and right.
"""
import golden_numbers
import numpy as np
import torch
import torch.nn.functional as F


def uniforms(name, *shape):
    numbers = golden_numbers.uniforms(name, np.prod(shape))
    return torch.from_numpy(numbers.astype(np.float32).reshape(shape))


def same(x, window, stride, value=0.0):
    sides = []
    for n in (x.shape[3], x.shape[2]):
        total = max(0, (-(-n // stride) - 1) * stride + window - n)
        sides += [total // 2, total - total // 2]
    return F.pad(x, sides, value=value)


def norm(x, at, eps):
    c = x.shape[1]
    return F.batch_norm(x, uniforms(f"{at}.running_mean", c), 1.25 + uniforms(f"{at}.running_var", c),
                        uniforms(f"{at}.weight", c), uniforms(f"{at}.bias", c), eps=eps)


x = (uniforms("image", 1, 3, 11, 10) + 1) / 2
x = (x - torch.tensor([0.4, 0.5, 0.6])[:, None, None]) / torch.tensor([0.2, 0.25, 0.3])[:, None, None]
x = F.silu(norm(F.conv2d(same(x, 3, 2), uniforms("stem.weight", 8, 3, 3, 3), stride=2), "stem_bn", 1e-3))
y = F.conv2d(same(x, 5, 1), uniforms("depthwise.weight", 8, 1, 5, 5), groups=8)
y = F.relu6(norm(y, "depthwise_bn", 1e-5))
x = x + F.conv2d(y, uniforms("project.weight", 8, 8, 1, 1), uniforms("project.bias", 8))
inside = F.avg_pool2d(same(torch.ones_like(x), 2, 2), 2)
x = torch.cat([
    F.max_pool2d(x, 3, 2, 1),
    F.max_pool2d(same(x, 3, 2, -torch.inf), 3, 2),
    F.avg_pool2d(x, 3, 2, 1),
    F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    F.avg_pool2d(same(x, 2, 2), 2) / inside,
    F.relu(F.conv2d(x, uniforms("wide.weight", 6, 4, 3, 5), uniforms("wide.bias", 6), 2, (1, 2), groups=2)),
], 1)
f = torch.cat([x.flatten(1), x.mean((2, 3))], 1)
logits = F.linear(f, uniforms("head.weight", 5, f.shape[1]), uniforms("head.bias", 5))
print("torch", torch.__version__, tuple(f.shape))
f = f[0].double().numpy()
print("features", [float(v) for v in f[::46]])
print("weighted", float((f * (np.arange(len(f)) + 1)).sum()), "square", float((f ** 2).sum()))
print("logits", [float(v) for v in logits[0]])
print("probabilities", [float(v) for v in torch.softmax(logits[0].double(), 0)])
