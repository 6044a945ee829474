#!/usr/bin/env bash
# Builds the feature `hub` and tests what becomes of a set in the hub's cache. Needs a C compiler; minutes of a cold build.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test -p ebm-data --features hub --lib hub
cargo clippy -p ebm-data -p ebm-cli --features ebm-data/hub,ebm-cli/hub --all-targets -- -D warnings
