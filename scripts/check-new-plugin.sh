#!/usr/bin/env bash
# Writes a crate outside of the workspace with `ebm new plugin`, builds it, runs its conformance test and trains with it.
# Usage: scripts/check-new-plugin.sh [FAMILY ...]; all ten without any. One target folder serves all, so the first takes minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
target="${CARGO_TARGET_DIR:-$PWD/target}"
cargo build -q -p ebm-cli
families=("$@")
[ "${#families[@]}" -gt 0 ] || families=(energy transition sampler entropy objective replay data optimiser observer policy)

for family in "${families[@]}"; do
    crate="$work/my-$family"
    "$target/debug/ebm" new plugin "my-$family" --kind "$family" --ebm . --out "$crate" >/dev/null
    # The versions that the workspace was tested with.
    cp Cargo.lock "$crate/Cargo.lock"
    (
        cd "$crate"
        # Levels of optimisation are those of the workspace, so what it compiled of the registry serves here, too. NEW_PLUGIN_TARGET_DIR
        # names an empty folder for whoever wants to time a first build.
        export CARGO_TARGET_DIR="${NEW_PLUGIN_TARGET_DIR:-$target}"
        began=$SECONDS
        cargo test -q >test.log 2>&1 || { cat test.log; exit 1; }
        tested=$SECONDS
        cargo run -q -- train run.toml --out run >train.log 2>&1 || { cat train.log; exit 1; }
        [ -f run/summary.json ] && grep -q '"outcome": "done"' run/summary.json
        echo "$family: built and tested in $((tested - began)) s, trained in $((SECONDS - tested)) s"
    )
done
