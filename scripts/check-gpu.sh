#!/usr/bin/env bash
# Everything that wants a GPU, in one call: the operators against f64, short trainings against the processor, a resumed run, times.
# Without compilers on the machine, name what was built elsewhere (scripts/setup-cuda.sh): EBM=program, and TESTS=the test program that
# `cargo test --release -p ebm-engine-gpu --features cuda,cudnn --no-run` names. DEVICE=cpu tries the script itself.
set -uo pipefail
EBM=${EBM:+$(realpath "$EBM")} TESTS=${TESTS:+$(realpath "$TESTS")}
cd "$(dirname "$0")/.."
device=${DEVICE:-cuda}
if [ -z "$EBM" ]; then
    cargo build --release -p ebm-cli --features cuda,cudnn || exit 1
    EBM=$(realpath "${CARGO_TARGET_DIR:-target}")/release/ebm
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0
report() { # result, what
    if [ "$1" = 0 ]; then echo "ok      $2"; else echo "FAILED  $2"; failed=1; fi
}

echo "== operators"
tests() { if [ -n "$TESTS" ]; then "$TESTS" --nocapture "$@"; else cargo test --release -q -p ebm-engine-gpu --features cuda,cudnn -- --nocapture "$@"; fi; }
tests > "$folder/tests" 2>&1
report $? "the tests of ebm-engine-gpu"
grep -E "^test .*FAILED|panicked|at most|without the host" "$folder/tests"
if grep "skipped: " "$folder/tests"; then report 1 "a device is tested"; fi

echo "== a short training on the processor and on $device"
config=examples/compose/digits.toml
common=(--set run.report_every=1 --set run.engine=graph --set run.batch=32)
train() { # name, more; fails too if sampler steps were not recorded
    local out=$1 log="$folder/out"
    shift
    "$EBM" train "$config" --log warn --out "$folder/$out" "$@" > "$log" 2>&1 && ! grep -q "not recorded" "$log" || { cat "$log"; false; }
}
train here "${common[@]}" --steps 30 --set run.device=cpu
report $? "training on the processor"
for dtype in f32 tf32 bf16; do
    train $dtype "${common[@]}" --steps 30 --set run.device="$device" --set run.dtype=$dtype
    report $? "training, $dtype"
done
python3 - "$folder" << 'END'
import json, math, os, sys
def rows(name):
    path = f"{sys.argv[1]}/{name}/metrics.jsonl"
    return [json.loads(line)["values"] for line in open(path)] if os.path.exists(path) else []
here, bad = rows("here"), 0
# Of the first step, as a share of the largest value: rounding of f32; of factors to 10 bits; to 8 bits. Later steps show what becomes of it.
for dtype, bound in [("f32", 1e-3), ("tf32", 3e-2), ("bf16", 1e-1)]:
    there = rows(dtype)
    for name in ["energy.data", "energy.samples", "grad"]:
        off = [abs(a[name] - b[name]) for a, b in zip(here, there)]
        most = max((abs(a[name]) for a in here), default=math.nan)
        good = len(off) == 30 and all(map(math.isfinite, off)) and off[0] <= bound * most
        bad += not good
        say = f"off by {off[0]:.2e} at first, {max(off):.2e} at most, of {most:.2e}" if off else "no numbers"
        print(f"        {dtype}, {name}: {say}{'' if good else '  <- too much'}")
sys.exit(bad)
END
report $? "the numbers of the first step"

echo "== a resumed run"
for dtype in f32 bf16; do
    # A constant rate: a schedule knows the number of steps.
    on=("${common[@]}" --set 'optimiser={kind="adam",rate=1e-3,average=0.99}' --set run.device="$device" --set run.dtype=$dtype)
    train "whole-$dtype" "${on[@]}" --steps 30 && train "parts-$dtype" "${on[@]}" --steps 14 &&
        "$EBM" resume --log error "$folder/parts-$dtype" --steps 30 > "$folder/out" 2>&1
    report $? "resuming, $dtype"
    for file in state replay; do
        cmp "$folder"/{whole,parts}-$dtype/checkpoints/step-00000030/$file.safetensors
        report $? "$dtype ends with the $file of a run that was not stopped"
    done
done

echo "== times"
for dtype in f32 tf32 bf16; do
    echo "-- $dtype"
    "$EBM" bench $config --log error --set run.device="$device" --set run.dtype=$dtype
    report $? "bench, $dtype"
done
exit $failed
