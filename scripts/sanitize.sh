#!/bin/sh
# The CPU engine's tests under the address sanitizer: every block of `unsafe` runs with checked memory. The sanitizer's runtime
# comes with the stable compiler, its flag does not, hence RUSTC_BOOTSTRAP. A target folder of its own, for all is rebuilt.
set -eu
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/sanitize"
# The allocation tests bring an allocator of their own and count, which the sanitizer's cannot be under.
exec cargo test --target "$host" -p ebm-engine-cpu --lib --test corners "$@"
