#!/usr/bin/env bash
# Runs every script NAME.sh of a folder of cases with the built program, and prints how many exit 0: inputs on which the program
# was wrong or unclear, each with an exit code that says whether it does right now.
#
#     scripts/check-cases.sh FOLDER            # or CASES=FOLDER; without either nothing is run
#     EBM=path/to/ebm PYTHON=python3 scripts/check-cases.sh FOLDER
set -u
cases=${1:-${CASES:-}}
if [ -z "$cases" ]; then
    echo "no folder of cases was named: 0 of 0"
    exit 0
fi
cases=$(realpath "$cases") || exit 2
[ -z "${EBM:-}" ] || EBM=$(realpath "$EBM") || exit 2
cd "$(dirname "$0")/.." || exit 2
export PYTHON=${PYTHON:-python3}
export PY=$PYTHON
if [ -z "${EBM:-}" ]; then
    cargo build --quiet --release -p ebm-cli || exit 2
    EBM=${CARGO_TARGET_DIR:-target}/release/ebm
fi
EBM=$(realpath "$EBM") || exit 2
export EBM
right=0
all=0
for case in "$cases"/*.sh; do
    [ -e "$case" ] || continue
    all=$((all + 1))
    said=$(timeout "${CASE_SECONDS:-600}" bash "$case" 2>&1)
    code=$?
    if [ "$code" -eq 0 ]; then
        right=$((right + 1))
        echo "ok    $(basename "$case"): $(tail -n 1 <<< "$said")"
    else
        echo "FAILS $(basename "$case") (exit $code): $(tail -n 3 <<< "$said")"
    fi
done
echo "$right of $all cases exit 0"
[ "$right" -eq "$all" ]
