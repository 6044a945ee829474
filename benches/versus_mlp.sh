#!/bin/sh
# Langevin step on a perceptron 2-128-128-1, batch 512: PyTorch eager and compiled, and ebm, in turn; microseconds.
# usage: benches/versus_mlp.sh PYTHON EBM [ROUNDS]
set -eu
python=$1 ebm=$2 rounds=${3:-5}
here=$(dirname "$0")
value() { python3 -c 'import json,sys; t=sys.stdin.read(); print(round(json.loads(t[t.index("{"):])["langevin_step_s"]*1e6, 1))'; }
for _ in $(seq "$rounds"); do
    printf 'eager %s  compiled %s  ebm %s\n' \
        "$("$python" "$here/mlp_peer.py" | value)" "$("$python" "$here/mlp_peer.py" --compile | value)" \
        "$("$ebm" bench "$here/mlp.toml" --json --warm 20 --timed 50 --log error | value)"
done
