#!/usr/bin/env bash
# Whether what would be published builds by itself: packs every crate, unpacks all of them elsewhere, and checks them there as one workspace in which
# none sees a file of the repository. Packs what is committed. usage: scripts/check-packed.sh [CARGO ARGUMENT...]
set -euo pipefail
cd "$(dirname "$0")/.."
# What would bring the features of the workspace after all.
unset CARGO_RESOLVER_FEATURE_UNIFICATION CARGO_UNSTABLE_FEATURE_UNIFICATION
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
rm -f "$CARGO_TARGET_DIR"/package/*.crate
cargo package --workspace --no-verify --locked --quiet
apart=$(mktemp -d)
trap 'rm -rf "$apart"' EXIT
{
    printf '[workspace]\nresolver = "3"\nmembers = ["crates/*"]\n[patch.crates-io]\n'
    mkdir "$apart/crates"
    for manifest in crates/*/Cargo.toml plugins/*/Cargo.toml; do
        grep -qx 'publish = false' "$manifest" && continue
        name=$(basename "$(dirname "$manifest")")
        tar -xzf "$CARGO_TARGET_DIR/package/$name-$version.crate" -C "$apart/crates"
        printf '%s = { path = "crates/%s-%s" }\n' "$name" "$name" "$version"
    done
    # The same profiles, so that dependencies are not built again.
    sed -n '/^\[profile/,$p' Cargo.toml
} >"$apart/Cargo.toml"
cp Cargo.lock "$apart"
echo "$(ls "$apart/crates" | wc -l) crates, unpacked"
[ $# -gt 0 ] || set -- check
cd "$apart"
cargo "$1" --workspace "${@:2}"
