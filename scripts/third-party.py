#!/usr/bin/env python3
"""Licences of everything that is linked into the program, as one text: what their authors ask to be passed on with it.

usage: third-party.py > THIRD-PARTY.txt    (features and package by CARGO_ARGUMENTS, default: -p ebm-cli)
"""

import json
import os
import subprocess
import sys
from pathlib import Path

NAMES = ("licen", "copying", "copyright", "notice", "unlicense")
arguments = os.environ.get("CARGO_ARGUMENTS", "-p ebm-cli").split()


def cargo(*words):
    return subprocess.run(["cargo", *words], check=True, capture_output=True, text=True).stdout


packages = json.loads(cargo("metadata", "--format-version", "1", "--locked"))["packages"]
linked = {tuple(line.split()[:2]) for line in cargo("tree", *arguments, "-e", "normal", "--prefix", "none", "--locked").splitlines() if line}
texts, bare = {}, []
for package in sorted(packages, key=lambda p: (p["name"], p["version"])):
    name = f"{package['name']} {package['version']}"
    if (package["name"], "v" + package["version"]) not in linked or package["source"] is None:
        continue
    folder = Path(package["manifest_path"]).parent
    files = [f for f in sorted(folder.iterdir()) if f.is_file() and f.name.lower().startswith(NAMES)]
    if not files:
        bare.append(f"{name}: {package['license']}, {package['repository']}")
    for file in files:
        # Many ship the very same text: it stands once, under the names of all.
        texts.setdefault(file.read_text(errors="replace").strip(), []).append(name)

for text, names in texts.items():
    print("=" * 100, "\n".join(dict.fromkeys(names)), "-" * 100, text, sep="\n")
print("=" * 100, "Without a text of their own:", *bare, sep="\n")
print(f"{len(linked)} crates, {len(texts)} texts, {len(bare)} without a text", file=sys.stderr)
