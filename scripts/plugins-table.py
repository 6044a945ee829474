#!/usr/bin/env python3
"""The book's table of all plugins: `ebm plugins list --json | scripts/plugins-table.py > book/src/plugins.md`."""
import json
import sys

families = {}
for c in json.load(sys.stdin):
    families.setdefault(c["family"], []).append(c)
print("# All plugins\n")
print("Made from the catalogue: `ebm plugins list --json | scripts/plugins-table.py`. `ebm plugins show NAME` prints the")
print("settings, ranges and an example of each.\n")
for family, parts in families.items():
    print(f"## {family}\n\n| kind | what | settings | source | crate |\n|---|---|---|---|---|")
    for c in parts:
        settings = ", ".join(f"`{s['name']}`" for s in c["settings"])
        cells = [f"`{c['kind']}`", c["summary"], settings, c["source"], c["crate"]]
        print("| " + " | ".join(x.replace("|", "\\|") for x in cells) + " |")
    print()
