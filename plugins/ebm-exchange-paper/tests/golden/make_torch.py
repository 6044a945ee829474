#!/usr/bin/env python3
"""Writes torch/ with the real libraries: the weights of make_checkpoints.py as people save them.

    python3 -m venv v && v/bin/pip install torch==2.15.0 safetensors==0.8.0
    v/bin/python make_torch.py

Entry i of tensor j (in order of names) is j + i/1024, of an average the negative of it.
"""

import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent / "torch"


def names(f):
    """Tensors of the published MNIST network, as make_checkpoints.py has them."""
    yield "conv1.weight", (f, 1, 3, 3)
    yield "conv1.bias", (f,)
    for k, block in enumerate(("res1", "res2", "res3")):
        c = f * 2**k
        for conv, norm in (("conv1", "bn1"), ("conv2", "bn2")):
            yield f"{block}.{conv}.weight", (c, c, 3, 3)
            yield f"{block}.{conv}.bias", (c,)
            yield f"{block}.{norm}.weight", (c,)
            yield f"{block}.{norm}.bias", (c,)
        yield f"{block}.conv_downsample.weight", (2 * c, c, 3, 3)
        yield f"{block}.conv_downsample.bias", (2 * c,)
    yield "energy_map.weight", (1, 8 * f)
    yield "energy_map.bias", (1,)
    yield "map_fc1.bias", (4,)


def weights(sign=1.0):
    out = {}
    for j, (name, size) in enumerate(sorted(names(1))):
        n = torch.Size(size).numel()
        if name != "map_fc1.bias":
            out[name] = (sign * (j + torch.arange(n) / 1024)).float().reshape(size)
    return out


def under(prefix, tensors):
    return {prefix + k: v for k, v in tensors.items()}


class Net(torch.nn.Module):
    """A module of modules whose parameters have these names."""

    def __init__(self, tensors):
        super().__init__()
        for name, value in tensors.items():
            at = self
            *path, last = name.split(".")
            for part in path:
                if not hasattr(at, part):
                    at.add_module(part, torch.nn.Module())
                at = getattr(at, part)
            at.register_parameter(last, torch.nn.Parameter(value.clone()))


shutil.rmtree(HERE, ignore_errors=True)
HERE.mkdir()
live, mean = weights(), weights(-1.0)
save_file({**under("_orig_mod.", live), "mask": torch.ones(3, dtype=torch.bool), "phase": torch.ones(2, dtype=torch.complex64)}, HERE / "compiled.safetensors")
torch.save({"model_state_dict_0": under("module._orig_mod.", live), "ema_model_state_dict_0": under("module._orig_mod.", mean)}, HERE / "wrapped.pth")
net = Net(live)
adam = torch.optim.AdamW(net.parameters(), lr=1e-3)
for p in net.parameters():
    p.grad = torch.ones_like(p)
before = {k: v.clone() for k, v in net.state_dict().items()}
adam.step()
net.load_state_dict(before)
lightning = {"epoch": 1, "global_step": 1, "pytorch-lightning_version": "2.6.6", "loops": {"fit_loop": {"state_dict": {}}}, "hyper_parameters": {"lr": 1e-3}}
torch.save({**lightning, "state_dict": under("model.", net.state_dict()), "optimizer_states": [adam.state_dict()], "lr_schedulers": []}, HERE / "lightning.ckpt")
# The layout of Lightning's WeightAveraging callback: the average in the usual place.
torch.save({**lightning, "state_dict": under("model.", mean), "current_model_state": under("model.", live), "averaging_state": {"n_averaged": torch.tensor(3)}}, HERE / "averaging.ckpt")
averaged = torch.optim.swa_utils.AveragedModel(Net(mean))
torch.save({"net": live, "swa": averaged.state_dict()}, HERE / "swa.pth")
torch.save({"params": live, "params_ema": mean}, HERE / "restorer.pth", pickle_protocol=4)
torch.save(net, HERE / "module.pth", pickle_protocol=5)
torch.save({k: torch._neg_view(v) for k, v in live.items()}, HERE / "negated.pth")
torch.save({k: v.to(torch.float8_e4m3fn) for k, v in live.items()}, HERE / "float8.pth")
torch.save({**live, "phase": torch.ones(2, dtype=torch.complex64), "small": torch.ones(3, dtype=torch.uint16)}, HERE / "beside.pth", _use_new_zipfile_serialization=False)
torch.save({k: v.to(torch.complex64) for k, v in live.items()}, HERE / "complex.pth")
spoilt = dict(live)
spoilt["conv1.weight"] = live["conv1.weight"] * float("nan")
torch.save({"state_dict": spoilt}, HERE / "nan.pth")
torch.save({"a": live, "b": mean}, HERE / "two.pth")
torch.save({"state_dict": live, "ema": {k: v for k, v in list(mean.items())[3:]}}, HERE / "half-average.pth")
# The layouts of torch-ema and of programs that follow it: a list in the order of the parameters.
torch.save({"model": live, "ema": {"shadow_params": list(mean.values()), "decay": 0.999, "num_updates": 10, "collected_params": None}}, HERE / "shadow.pth")
keys = list(live)
for i, part in enumerate((keys[:9], keys[9:])):
    save_file({"model." + k: live[k] for k in part}, HERE / f"model-0000{i + 1}-of-00002.safetensors")
index = {"metadata": {"total_size": 0}, "weight_map": {"model." + k: f"model-0000{1 if k in keys[:9] else 2}-of-00002.safetensors" for k in keys}}
(HERE / "model.safetensors.index.json").write_text(json.dumps(index))
print(sum(f.stat().st_size for f in HERE.iterdir()), "bytes in", HERE)
