#!/usr/bin/env python3
"""Writes which operations candle has on Metal, by the names of their kernels, from its source:

    scripts/metal-operations.py CANDLE_CORE_FOLDER > crates/ebm-engine-gpu/tests/metal-operations.txt

Only those whose kernels are chosen by number types: the rest takes what the types of its kernels' source are. To be run again with each
new candle; tests/metal.rs says so.
"""
import pathlib
import re
import sys

folder = pathlib.Path(sys.argv[1])
source = (folder / "src/metal_backend/mod.rs").read_text()
version = re.search(r'^version = "(.*)"', (folder / "Cargo.toml").read_text(), re.M).group(1)
print(f"# candle-core {version}, src/metal_backend/mod.rs; made by scripts/metal-operations.py")
names = set(re.findall(r'=> "([a-z0-9]+(?:_[a-z0-9]+)*_(?:f32|f16|bf16|u8|u32|i64)(?:_strided)?)"', source))
for name in sorted(names):
    print(name)
