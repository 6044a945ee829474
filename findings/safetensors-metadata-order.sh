#!/usr/bin/env bash
# safetensors 0.8.0 writes other bytes each time for the same tensors with the same metadata.
#
# Entries of `metadata` go into the header in the order of a hash map that is seeded anew in each process. So digests of files
# cannot tell whether weights changed. Without metadata the bytes are the same. Seen with torch 2.15.0, Python 3.11.
#
# For us: `ebm convert` writes the header itself, in the order of names, and the same bytes each time.
source "$(dirname "$0")/lib.sh"
packages python3 torch==2.15.0 safetensors==0.8.0 numpy==2.4.6
write() {
    python -c "
import hashlib, torch
from safetensors.torch import save
metadata = {k: 'x' for k in 'abcdefgh'} if $1 else None
print(hashlib.sha256(save({'w': torch.ones(2)}, metadata=metadata)).hexdigest())"
}
with=$(for _ in 1 2 3; do write True; done | sort -u | wc -l)
without=$(for _ in 1 2 3; do write False; done | sort -u | wc -l)
echo "three processes, one content: $with different files with metadata, $without without"
test "$with" -gt 1 -a "$without" -eq 1
