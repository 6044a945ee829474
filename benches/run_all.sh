#!/bin/sh
# Runs every benchmark of README.md in turn, puts its table there anew and says which figures moved by more than a tenth since the last
# time (figures.json). On a machine with nothing else to do: some twenty minutes, or the sections that are named.
# usage: benches/run_all.sh [SECTION...]     (without a name: all; `benches/run_all.py --help` has their names)
# PEER_PYTHON: an interpreter with PyTorch; PEER: the PyTorch program of versus.py; PLANE_DATA: the folder of the plane's benchmark.
# What one of these lacks for is left as it is, and said.
set -eu
cd "$(dirname "$0")/.."
cargo build --release -p ebm-cli
cargo build --release -p plane --bins
cargo build --release -p ebm-engine-cpu -p ebm-cli --examples
exec python3 benches/run_all.py "$@"
