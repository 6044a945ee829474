#!/usr/bin/env bash
# safetensors 0.8.0 stores a tensor of PyTorch that is negated lazily with its sign turned.
#
# The imaginary part of a conjugate is a view that remembers to negate (`is_neg()`). Where it lies in one piece, here a single
# number, `save_file` writes the bytes of the storage: 4 goes in where the tensor holds -4, and 4 comes back. `torch.save`
# keeps the sign. Seen with torch 2.15.0, Python 3.11.
#
# For us: `ebm convert` turns the signs of tensors that carry the mark in a file of `torch.save`.
source "$(dirname "$0")/lib.sh"
packages python3 torch==2.15.0 safetensors==0.8.0 numpy==2.4.6
python - <<'P'
import torch
from safetensors.torch import load_file, save_file

weight = torch.tensor([3 + 4j]).conj().imag
assert weight.tolist() == [-4.0] and weight.is_contiguous()
save_file({"weight": weight}, "w.safetensors")
torch.save({"weight": weight}, "w.pth")
found = load_file("w.safetensors")["weight"].item(), torch.load("w.pth")["weight"].item()
print("tensor -4.0; safetensors gives back %s, torch.save %s" % found)
assert found == (4.0, -4.0), "this has changed"
P
