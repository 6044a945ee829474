#!/usr/bin/env bash
# What a release is made of. Alone it is dry: it checks that version, tag and changelog agree and packs every crate, and nothing leaves the machine.
#
# usage: scripts/release.sh [--tag vX.Y.Z] [--archive] [--publish]
#   --tag      the tag that is to be made or was made (default: v and the version of Cargo.toml)
#   --archive  also builds the program and packs it with its licences and a SHA-256, in target/release-archives
#   --publish  also publishes the crates; asks first, and needs `cargo login` before
set -euo pipefail
cd "$(dirname "$0")/.."

tag= archive= publish=
while [ $# -gt 0 ]; do
    case $1 in
    --tag) tag=${2:?--tag wants vX.Y.Z}; shift ;;
    --archive) archive=1 ;;
    --publish) publish=1 ;;
    *) sed -n 's/^# \{0,1\}//;2,8p' "$0" >&2; exit 2 ;;
    esac
    shift
done
fail() { echo "release: $*" >&2; exit 1; }

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
tag=${tag:-v$version}
[ "$tag" = "v$version" ] || fail "the tag is $tag, the version of Cargo.toml $version: wanted v$version"
grep -qx "version: $version" CITATION.cff || fail "CITATION.cff has another version than $version"
[ -z "$(git status --porcelain)" ] || fail "there are changes that are not committed: commit or stash them"
ready=1
grep -q "^## $version" CHANGELOG.md || { ready=; echo "not ready: CHANGELOG.md has no line '## $version' (its newest entries stand under '## Unreleased')"; }
[ "$(git tag --points-at HEAD | grep -cx "$tag")" = 1 ] || { ready=; echo "not ready: the commit has no tag $tag"; }
grep -q 'example\.org' Cargo.toml && { ready=; echo "not ready: repository in Cargo.toml is a placeholder"; }

# Every crate as crates.io would get it.
packages="${CARGO_TARGET_DIR:-target}/package"
rm -f "$packages"/*.crate
cargo package --workspace --no-verify --locked --quiet
count=0
for crate in "$packages"/*-"$version".crate; do
    size=$(wc -c <"$crate")
    [ "$size" -le 10000000 ] || fail "$crate has $size bytes, crates.io takes 10,000,000"
    name=$(basename "$crate" .crate)
    case $name in ebm-python-* | ebm-tests-* | plane-* | own-plugins-*) continue ;; esac # not published
    count=$((count + 1))
    for licence in LICENSE-MIT LICENSE-APACHE; do
        # A checkout without links has a path in its place.
        tar -xzOf "$crate" "$name/$licence" | cmp -s - "$licence" || fail "$crate has no text of $licence"
    done
done
echo "$count crates of version $version packed in $packages"

if [ -n "$archive" ]; then
    cargo build --release --locked -p ebm-cli
    host=$(rustc -vV | sed -n 's/^host: //p')
    name=ebm-$version-$host
    out=target/release-archives
    rm -rf "$out/$name" && mkdir -p "$out/$name"
    built="${CARGO_TARGET_DIR:-target}/release"
    for program in "$built/ebm" "$built/ebm.exe"; do [ ! -f "$program" ] || cp "$program" "$out/$name/"; done
    cp README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$out/$name/"
    # The embedded images have licences of their own.
    for data in digits mnist5k; do cp "crates/ebm-data-$data/LICENSE-DATA" "$out/$name/LICENSE-DATA-$data"; done
    python3 scripts/third-party.py >"$out/$name/THIRD-PARTY.txt"
    tar -C "$out" -czf "$out/$name.tar.gz" "$name"
    rm -rf "${out:?}/$name"
    # The name alone stands in the line, so that whoever has both files can check it anywhere.
    (cd "$out" && if command -v sha256sum >/dev/null; then sha256sum "$name.tar.gz"; else shasum -a 256 "$name.tar.gz"; fi >"$name.tar.gz.sha256")
    cat "$out/$name.tar.gz.sha256"
fi

if [ -n "$publish" ]; then
    [ -n "$ready" ] || fail "not published, for the reasons above"
    read -r -p "publish $count crates as $version? A version cannot be taken back. Type it: " answer
    [ "$answer" = "$version" ] || fail "not published"
    cargo publish --workspace --locked
fi
[ -n "$ready" ] && echo "ready: $tag" || echo "dry: nothing was published"
