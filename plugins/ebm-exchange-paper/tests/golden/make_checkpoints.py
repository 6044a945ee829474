"""Writes two tiny checkpoints in the shape of the published program's, without PyTorch: the stream of
pickles that PyTorch wrote before 1.6, and the zip archive it writes since. Value of entry i of tensor j
(in order of names): j + i/1024 for live weights, the negative of it for their average.

    python3 make_checkpoints.py        # writes legacy.pth and zipped.pth here
"""

import argparse
import io
import pathlib
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict

torch = types.ModuleType("torch")
utils = types.ModuleType("torch._utils")
sys.modules["torch"], sys.modules["torch._utils"] = torch, utils


def _rebuild_tensor_v2(*_):
    raise NotImplementedError


class FloatStorage:
    pass


class LongStorage:
    pass


_rebuild_tensor_v2.__module__ = "torch._utils"
_rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
utils._rebuild_tensor_v2 = _rebuild_tensor_v2
for c in (FloatStorage, LongStorage):
    c.__module__ = "torch"
    setattr(torch, c.__name__, c)


class Storage:
    """Numbers of one storage and its id."""

    count = 0

    def __init__(self, kind, numbers):
        self.kind, self.numbers = kind, numbers
        self.key = str(1000 + Storage.count)
        Storage.count += 1

    def raw(self):
        return struct.pack(f"<{len(self.numbers)}{'f' if self.kind is FloatStorage else 'q'}", *self.numbers)


class Tensor:
    def __init__(self, storage, size, stride, offset=0):
        self.parts = (storage, offset, size, stride, False, OrderedDict())

    def __reduce__(self):
        return _rebuild_tensor_v2, self.parts


def strides(size):
    out = []
    step = 1
    for n in reversed(size):
        out.insert(0, step)
        step *= n
    return tuple(out)


def names(f):
    """Tensors of the published MNIST network that are in use, and one that is not."""
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


def state(f, sign, prefix=""):
    out = OrderedDict()
    # PyTorch's dictionaries carry the versions of the modules as an attribute.
    out._metadata = OrderedDict([("", {"version": 1})])
    for j, (name, size) in enumerate(sorted(names(f))):
        n = 1
        for s in size:
            n *= s
        numbers = [sign * (j + i / 1024) for i in range(n)]
        if name == "res2.conv_downsample.weight":
            # Stored with its first two axes swapped, so that strides matter.
            o, c, k, _ = size
            swapped = [numbers[(a * c + b) * k * k + t] for b in range(c) for a in range(o) for t in range(k * k)]
            out[prefix + name] = Tensor(Storage(FloatStorage, swapped), size, (k * k, o * k * k, k, 1))
        elif name == "energy_map.weight":
            # A view into a longer storage, so that offsets matter.
            out[prefix + name] = Tensor(Storage(FloatStorage, [0.0] * 3 + numbers), size, strides(size), 3)
        else:
            out[prefix + name] = Tensor(Storage(FloatStorage, numbers), size, strides(size))
    return out


def moments(f):
    """Adam's state: entry i of the second moment of tensor j is j + 1 + i/1024; one never had a gradient."""
    out = {}
    for j, (name, size) in enumerate(sorted(names(f))):
        if name == "map_fc1.bias":
            continue
        n = 1
        for s in size:
            n *= s
        tensor = lambda numbers: Tensor(Storage(FloatStorage, numbers), size, strides(size))
        second = tensor([j + 1 + i / 1024 for i in range(n)])
        out[j] = {"step": 3, "exp_avg": tensor([0.5] * n), "exp_avg_sq": second}
    return out


def checkpoint():
    f = 1
    count = len(list(names(f)))
    return {
        "model_state_dict_0": state(f, 1.0),
        "ema_model_state_dict_0": state(f, -1.0, "module."),
        "optimizer_state_dict": {
            "state": moments(f),
            "param_groups": [{"lr": 2e-4, "betas": (0.0, 0.9), "amsgrad": False, "params": list(range(count))}],
        },
        "counters": Tensor(Storage(LongStorage, [7, 8]), (2,), (1,)),
        "FLAGS": argparse.Namespace(exp="tiny", cond=False, step_lr=100.0, resume=None),
        "best_inception": 1.5,
    }


class Pickler(pickle.Pickler):
    def __init__(self, file):
        super().__init__(file, protocol=2)
        self.seen = {}

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        self.seen[obj.key] = obj
        view = (None,) if self.legacy else ()
        return ("storage", obj.kind, obj.key, "cpu", len(obj.numbers), *view)


def dump(obj, legacy):
    file = io.BytesIO()
    p = Pickler(file)
    p.legacy = legacy
    p.dump(obj)
    return file.getvalue(), p.seen


here = pathlib.Path(__file__).parent

body, seen = dump(checkpoint(), legacy=True)
with open(here / "legacy.pth", "wb") as f:
    pickle.dump(0x1950A86A20F9469CFC6C, f, protocol=2)
    pickle.dump(1001, f, protocol=2)
    pickle.dump({"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}, f, protocol=2)
    f.write(body)
    keys = sorted(seen)
    pickle.dump(keys, f, protocol=2)
    for key in keys:
        f.write(struct.pack("<q", len(seen[key].numbers)) + seen[key].raw())

body, seen = dump(checkpoint(), legacy=False)
with zipfile.ZipFile(here / "zipped.pth", "w", zipfile.ZIP_STORED) as z:
    for name, data in [("archive/data.pkl", body)] + [(f"archive/data/{k}", s.raw()) for k, s in seen.items()]:
        z.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data)
