#!/usr/bin/env bash
# Trainings under a real MPI: the same numbers on 1, 2 and 4 ranks, restarts on other numbers of ranks, and ends of jobs
# of which one rank fails. Needs an MPI library (Debian: libopenmpi-dev, libclang-dev) and Python 3 for comparing numbers.
set -euo pipefail
cd "$(dirname "$0")/.."
# One selection of packages, so that what their tests have built is used again.
cargo build -q -p ebm -p ebm-tests -p ebm-ranks --features ebm-tests/mpi,ebm-ranks/mpi --bins --example sum
built=$(realpath "${CARGO_TARGET_DIR:-target}")/debug
ebm=$built/ebm-failing
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
export EBM_THREADS=1 RAYON_NUM_THREADS=1
# A job that hangs is a failure; 124 is the exit code of `timeout`.
on() { local n=$1; shift; timeout 120 mpirun --oversubscribe -n "$n" "$@"; }
config() { # shards, number type, more
    cat <<END
format = 1
[run]
name = "ranks"
seed = 2
steps = 12
batch = 16
shards = $1
dtype = "$2"
report_every = 3
[data]
kind = "digits"
[energy]
kind = "mlp"
hidden = [12, 8]
[sampler]
kind = "chain"
steps = 3
transition = { kind = "langevin", step_size = 0.1, noise = 0.1, clamp = [0.0, 1.0] }
[replay]
kind = "random-overwrite"
capacity = 400
[objective]
kind = "contrastive"
energy_l2 = 0.5
kl = { trail = 1 }
entropy = { bank = 6, bank_above = 30, estimator = { kind = "nearest-neighbour" } }
[optimiser]
kind = "adam"
rate = 1e-3
average = 0.99
[generate]
steps = 3
count = 9
[[observer]]
kind = "jsonl"
[[policy]]
kind = "checkpoint"
every = 4
$3
END
}
same() { # two runs to the bit
    for file in state replay; do
        cmp "$1/checkpoints/step-00000012/$file.safetensors" "$2/checkpoints/step-00000012/$file.safetensors"
    done
}
cd "$folder"

echo "== the sum and its messages"
for n in 2 3 4; do on "$n" "$built/examples/sum" | head -1; done

echo "== four shards: 1, 2 and 4 ranks write the same bytes"
config 4 f32 "" > four.toml
"$ebm" train four.toml --out alone > /dev/null 2>&1
for n in 1 2 4; do
    on "$n" "$ebm" train four.toml --out "four-$n" > out 2> err || { cat err; exit 1; }
    same alone "four-$n"
    [ "$(grep -c '^run ' out)" = 1 ] || { echo "the result is not printed once:"; cat out; exit 1; }
    [ "$(wc -l < "four-$n/metrics.jsonl")" = "$(wc -l < alone/metrics.jsonl)" ]
    echo "$n ranks: the same bytes, one result"
done

echo "== one shard whose rows are shared, f64: the same to rounding"
config 1 f64 "" > one.toml
for n in 1 2 4; do on "$n" "$ebm" train one.toml --out "one-$n" > /dev/null 2> err || { cat err; exit 1; }; done
python3 - <<'END'
import json, struct
def read(run):
    data = open(f"{run}/checkpoints/step-00000012/state.safetensors", "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + n])
    out = {}
    for name, t in head.items():
        if name.startswith("params.") and t["dtype"] == "F64":
            a, b = t["data_offsets"]
            out[name] = struct.unpack(f"<{(b - a) // 8}d", data[8 + n + a:8 + n + b])
    return out
want = read("one-1")
assert want
for ranks in (2, 4):
    got = read(f"one-{ranks}")
    assert got.keys() == want.keys()
    worst = max(abs(a - b) / (1 + abs(b)) for k in want for a, b in zip(got[k], want[k]))
    print(f"{ranks} ranks: weights differ by at most {worst:.1e}")
    # Chains are replayed in f32: a last bit of f64 may move a kept chain by one of f32 (6e-8), and twelve steps go on from it.
    assert worst < 1e-6
END

echo "== restarts: 2, then 4, then 1 rank"
on 2 "$ebm" train four.toml --out cut --steps 4 > /dev/null 2>&1
on 4 "$ebm" resume cut --steps 8 > /dev/null 2>&1
on 1 "$ebm" resume cut --steps 12 > /dev/null 2>&1
same alone cut
echo "the same bytes as without"

echo "== one rank fails: the job ends with its error"
fails() { # name, ranks, expected words, command
    local name=$1 n=$2 words=$3 code=0 began=$SECONDS
    shift 3
    on "$n" "$@" > out 2> err || code=$?
    if [ "$code" = 0 ] || [ "$code" = 124 ] || ! grep -q "$words" err; then
        echo "$name: exit code $code, wanted an end with \"$words\""
        cat err
        exit 1
    fi
    echo "$name: exit code $code after $((SECONDS - began)) s: $(grep -m 1 "$words" err)"
}
for how in error panic kill; do
    config 4 f32 "[[policy]]
kind = \"failing\"
how = \"$how\"
rank = 2
step = 5" > "$how.toml"
done
fails "an error" 4 "rank 2 of 4: failing: fails on purpose" "$ebm" train error.toml --out fails-1
fails "a panic" 4 "rank 2 of 4 panicked: panics on purpose" "$ebm" train panic.toml --out fails-2
fails "a killed rank" 4 "signal 9" "$ebm" train kill.toml --out fails-3
for rank in 0 1; do mkdir -p "at-$rank"; done
cp four.toml at-0/
fails "a file only some have" 2 "rank 1 of 2: .*four.toml" \
    sh -c 'cd at-$OMPI_COMM_WORLD_RANK && exec "$0" train four.toml --out ../fails-4' "$ebm"
sed 's/^seed = 2/seed = 3/' four.toml > at-1/four.toml
fails "other configurations" 2 "rank 1 has other" \
    sh -c 'cd at-$OMPI_COMM_WORLD_RANK && exec "$0" train four.toml --out ../fails-5' "$ebm"
fails "shards that cannot be spread" 3 "run.shards" "$ebm" train four.toml --out fails-6
[ ! -e fails-6 ]
fails "a directory that is taken" 2 "rank 0 of 2: --out alone: already holds a run" "$ebm" train four.toml --out alone
on 1 "$ebm" resume fails-3 > /dev/null 2>&1
same alone fails-3
echo "the run of the killed rank goes on from its checkpoint to the same bytes"

echo "== asked to stop, all stop and save"
on 2 "$ebm" train four.toml --out stopped --steps 1000000 > out 2> err &
job=$!
for _ in $(seq 100); do [ -s stopped/metrics.jsonl ] && break; sleep 0.1; done
launcher=$(pgrep -P "$(pgrep -P $job)")
kill -TERM "$(pgrep -P "$launcher" | tail -1)" # one of the two; the other hears of it
code=0; wait $job || code=$?
grep -q interrupted out || { echo "exit code $code"; cat out err; exit 1; }
echo "exit code $code: $(grep ended out)"
echo "all well"
