#!/bin/sh
# Whether each crate builds alone: in a build of the workspace a crate also has the features that others switch on in its
# dependencies, so that a feature which it forgot to ask for shows only where somebody uses it by itself. Minutes, for the
# dependencies are checked once for each set of features. usage: scripts/check-alone.sh [CRATE...]
set -eu
cd "$(dirname "$0")/.."
# What would bring the features of the workspace after all.
unset CARGO_RESOLVER_FEATURE_UNIFICATION CARGO_UNSTABLE_FEATURE_UNIFICATION
[ $# -gt 0 ] || set -- $(for manifest in crates/*/Cargo.toml plugins/*/Cargo.toml; do basename "$(dirname "$manifest")"; done)
failed=
for crate; do
    cargo check --quiet -p "$crate" --lib || failed="$failed $crate"
done
[ -z "$failed" ] || { echo "do not build alone:$failed" >&2; exit 1; }
echo "each of $# crates builds alone"
