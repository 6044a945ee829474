#!/usr/bin/env python3
"""PyTorch's Langevin step on a perceptron 2-128-128-1 with swish, for `versus_mlp.sh`: prints one JSON object."""
import argparse, json, resource, statistics, time
import torch
from torch import nn

p = argparse.ArgumentParser()
p.add_argument("--batch", type=int, default=512)
p.add_argument("--compile", action="store_true")
p.add_argument("--threads", type=int, default=0)
p.add_argument("--reps", type=int, default=200)
a = p.parse_args()
if a.threads:
    torch.set_num_threads(a.threads)
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(2, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 1))
net.requires_grad_(False)


def step(x):
    x = (x + 0.01 * torch.randn_like(x)).requires_grad_(True)
    g, = torch.autograd.grad(net(x).sum(), x)
    return (x - 0.01 * g).detach()


if a.compile:
    net = torch.compile(net)
x, times = torch.randn(a.batch, 2), []
for i in range(a.reps + 50):
    t = time.perf_counter()
    x = step(x)
    if i >= 50:
        times.append(time.perf_counter() - t)
print(json.dumps(dict(langevin_step_s=statistics.median(times), threads=torch.get_num_threads(), torch=torch.__version__,
                      peak_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)))
