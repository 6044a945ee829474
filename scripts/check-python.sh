#!/usr/bin/env bash
# Runs the tutorial of the Python package in an empty folder and compares what it prints with what the book says it prints.
# Usage: scripts/check-python.sh PYTHON, an interpreter that has the package.
set -euo pipefail
python=$(command -v "$1")
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && "$python" "$root/examples/python/tutorial.py") >"$folder/printed"
# The last block of text of the chapter.
awk '/^```text$/ { block = ""; inside = 1; next } /^```$/ { inside = 0; next } inside { block = block $0 "\n" } END { printf "%s", block }' \
    "$root/book/src/python.md" >"$folder/book"
diff -u "$folder/book" "$folder/printed"
echo "the tutorial prints what the book says"
