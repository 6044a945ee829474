#!/usr/bin/env bash
# Builds with the oldest compiler that Cargo.toml promises (`rust-version`), in a target folder of its own. Without that toolchain it says so and
# is done: the lint `incompatible_msrv` still holds what the standard library may be asked for. usage: scripts/check-msrv.sh [CARGO ARGUMENT...]
set -euo pipefail
cd "$(dirname "$0")/.."
oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
for toolchain in "$oldest" "$oldest.0"; do
    if rustc=$(rustup which --toolchain "$toolchain" rustc 2>/dev/null); then
        echo "$("$rustc" --version) is the oldest that is promised"
        [ $# -gt 0 ] || set -- --workspace
        CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/oldest-rust" cargo "+$toolchain" check --locked "$@"
        exit
    fi
done
echo "skipped: no toolchain $oldest is installed (rustup toolchain install $oldest)"
