#!/usr/bin/env bash
# Everything that wants a GPU, in one call: the operators against f64, short trainings against the processor, a resumed run, times.
# Without compilers on the machine, name what was built elsewhere (scripts/setup-cuda.sh), both from the same tree and stripped: EBM=program,
# and TESTS=the test program that `cargo test --release -p ebm-engine-gpu --features cuda,cudnn --no-run` names. More that may be set:
#
#     HERE=metrics.jsonl   of the training on the processor, made elsewhere by the command that this prints; without it it is made here
#     KEEP=folder          where logs.tgz with everything that was said goes at the end, whatever happens; the current folder without it
#     LIMIT=seconds        for each part; a part that hangs is ended. 150 without it
#     CONFIG=file          whose network is timed besides the digits', such as examples/paper/cifar10.toml with its data there
#     DEVICE=cpu           tries the script itself
set -uo pipefail
EBM=${EBM:+$(realpath "$EBM")} TESTS=${TESTS:+$(realpath "$TESTS")} HERE=${HERE:+$(realpath "$HERE")}
KEEP=$(realpath "${KEEP:-.}") CONFIG=${CONFIG:+$(realpath "$CONFIG")}
cd "$(dirname "$0")/.."
. scripts/gpu-env.sh
device=${DEVICE:-cuda} limit=${LIMIT:-150}
folder=$(mktemp -d) && mkdir "$folder/log"
log=$folder/log
trap 'tar czf "$KEEP/logs.tgz" -C "$folder" log; rm -rf "$folder"' EXIT
if [ -z "$EBM" ]; then
    cargo build --release -p ebm-cli --features cuda,cudnn || exit 1
    EBM=$(realpath "${CARGO_TARGET_DIR:-target}")/release/ebm
fi
failed=0
report() { # result, what
    if [ "$1" = 0 ]; then echo "ok      $2"; else echo "FAILED  $2$([ "$1" = 124 ] && echo " (ended after $limit s)")"; failed=1; fi
}
part() { printf '== [%3d s] %s\n' $SECONDS "$1"; }

part "machine"
if command -v nvidia-smi > /dev/null; then
    timeout 20 nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm --format=csv,noheader
fi
"$EBM" --version

config=examples/compose/digits.toml
common=(--set run.report_every=1 --set run.engine=graph --set run.batch=32)
train() { # name, more; fails too if sampler steps were not recorded
    local out=$1
    shift
    timeout "$limit" "$EBM" train "$config" --log "${LOG:-warn}" --out "$folder/$out" "$@" > "$log/$out" 2>&1
    local result=$?
    if [ $result = 0 ] && grep -q "not recorded" "$log/$out"; then result=1; fi
    [ $result = 0 ] || tail -20 "$log/$out"
    return $result
}

part "two steps"
train start "${common[@]}" --steps 2 --set run.device="$device"
started=$?
report $started "training starts on $device"
if [ $started != 0 ]; then
    # Nothing else can be right. Once more with one launch at a time, so that what fails says so, and without recording.
    CUDA_LAUNCH_BLOCKING=1 CUDNN_LOGLEVEL_DBG=2 CUDNN_LOGDEST_DBG=$log/cudnn train blocking "${common[@]}" --steps 2 --set run.device="$device"
    report $? "the same, one launch at a time"
    train unrecorded "${common[@]}" --steps 2 --set run.device="$device" --set sampler.steps=2
    report $? "the same, without a recording"
    exit 1
fi

part "operators"
# Those on a GPU alone where the test program is given: the host's take longer and were seen where it was built.
tests() {
    if [ -n "$TESTS" ]; then timeout "$limit" "$TESTS" --nocapture "$@"; else cargo test --release -q -p ebm-engine-gpu --features cuda,cudnn -- --nocapture "$@"; fi
}
names=()
if [ -n "$TESTS" ]; then
    mapfile -t names < <("$TESTS" --list 2> /dev/null | sed -n 's/: test$//p' | grep -E '::cuda$|on_a_gpu|memory_of_the_samples|a_gpu_opens')
fi
tests ${names[@]+--test-threads=1 --exact "${names[@]}"} > "$log/tests" 2>&1
result=$?
report $result "the tests of ebm-engine-gpu"
# The reason stands on the lines after the place.
grep -E "^test .*FAILED|without the host|largest deviation" "$log/tests"
grep -A4 "panicked" "$log/tests" | cut -c1-300 | head -60
if grep "skipped: " "$log/tests"; then report 1 "a device is tested"; fi
if [ $result != 0 ] && [ -n "$TESTS" ]; then
    # One bad address ends the device for a whole process: what fails alone is what is wrong.
    sed -n '/^failures:/,/^test result/s/^    \([a-z_0-9:]*\)$/\1/p' "$log/tests" | sort -u | head -6 | while read -r name; do
        timeout 60 "$TESTS" --nocapture --exact "$name" > "$log/alone-${name//:/_}" 2>&1
        echo "        alone, $name: $?"
        grep -A4 "panicked" "$log/alone-${name//:/_}" | cut -c1-300 | head -8
    done
fi

part "a short training on the processor and on $device"
if [ -n "$HERE" ]; then
    mkdir -p "$folder/here" && cp "$HERE" "$folder/here/metrics.jsonl"
else
    echo "        HERE=DIR/metrics.jsonl of: ebm train $config --out DIR ${common[*]} --steps 30 --set run.device=cpu"
    train here "${common[@]}" --steps 30 --set run.device=cpu
    report $? "training on the processor"
fi
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

part "a resumed run"
for dtype in f32 bf16; do
    # A constant rate: a schedule knows the number of steps.
    on=("${common[@]}" --set 'optimiser={kind="adam",rate=1e-3,average=0.99}' --set run.device="$device" --set run.dtype=$dtype)
    train "whole-$dtype" "${on[@]}" --steps 30 && train "parts-$dtype" "${on[@]}" --steps 14 &&
        timeout "$limit" "$EBM" resume --log error "$folder/parts-$dtype" --steps 30 > "$log/resume-$dtype" 2>&1
    report $? "resuming, $dtype"
    for file in state replay; do
        cmp "$folder"/{whole,parts}-$dtype/checkpoints/step-00000030/$file.safetensors
        report $? "$dtype ends with the $file of a run that was not stopped"
    done
done

part "one recording a run, and scales beside each other"
net() { echo "{kind=\"conv-net\",layers=[{filters=$1},{filters=$1,stride=2}],hidden=[$1],conditional=true}"; }
scales="energy={kind=\"multi-scale\",parts=[{name=\"small\",energy=$(net 16)},{name=\"large\",energy=$(net 32)}]}"
for beside in 0 1; do
    EBM_GPU_BRANCHES=$beside LOG=warn,ebm_engine_gpu=debug train "beside-$beside" "${common[@]}" --set "$scales" --steps 10 --set run.device="$device"
    report $? "two scales, EBM_GPU_BRANCHES=$beside"
    [ "$device" = cuda ] || continue
    recorded=$(grep -c "a sampler step is recorded" "$log/beside-$beside")
    [ "$recorded" = 1 ]
    report $? "recordings of ten updates: $recorded"
done
cmp "$folder"/beside-{0,1}/checkpoints/step-00000010/state.safetensors
report $? "scales beside each other end with the bytes of scales one after another"

part "times"
for dtype in f32 tf32 bf16; do
    for what in $config $CONFIG; do
        echo "-- $dtype, $what"
        # Warnings too: one says whether the sampler's steps were recorded.
        timeout "$limit" "$EBM" bench "$what" --log warn --set run.device="$device" --set run.dtype=$dtype 2>&1 | tee "$log/bench-$dtype-$(basename "$what")"
        report "${PIPESTATUS[0]}" "bench, $dtype, $what"
    done
done
exit $failed
