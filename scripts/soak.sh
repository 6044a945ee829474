#!/usr/bin/env bash
# What a run survives, tried out: kills at random moments and at every system call, damaged files, absurd settings, changed copies of
# every kind of file, and a long time of all at once. Takes some hours; the figures stand in the book ("What a run survives").
#
#   scripts/soak.sh [PART...]     kills points damage clock settings readers long; all without one
#
# Needs python3, strace for `points`, faketime for `clock`. MINUTES (60) is the length of `long`, KILLS (100), ROUNDS (6 of each damage),
# CLOCKS (25), CROSSINGS (2000 pairs of settings) and SECONDS_A_READER (60) those of the others; EBM another program than the one
# that is built here.
set -euo pipefail
cd "$(dirname "$0")/.."
parts=${*:-kills points damage clock settings readers long}

target=$(cargo metadata --format-version 1 --no-deps --offline | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
if [ -z "${EBM:-}" ]; then
    cargo build --quiet -p ebm-cli
    export EBM="$target/debug/ebm"
fi

failed=""
for part in $parts; do
    case $part in
    kills) python3 scripts/soak/kills.py "${KILLS:-100}" ;;
    points) python3 scripts/soak/points.py ;;
    damage) python3 scripts/soak/damage.py "${ROUNDS:-6}" ;;
    clock) python3 scripts/soak/clock.py "${CLOCKS:-25}" ;;
    long) python3 scripts/soak/long.py "${MINUTES:-60}" ;;
    settings) EBM_SWEEP="${EBM_SWEEP:-1}" EBM_CROSSINGS="${CROSSINGS:-2000}" cargo test --quiet -p ebm-tests --test whole sweep:: -- --nocapture ;;
    readers) EBM_FUZZ_SECONDS="${SECONDS_A_READER:-60}" cargo test --quiet -p ebm-tests --test readers -- --nocapture ;;
    *)
        echo "soak: $part is no part" >&2
        exit 2
        ;;
    esac || failed="$failed $part"
done
[ -z "$failed" ] || {
    echo "soak: faults in$failed" >&2
    exit 1
}
