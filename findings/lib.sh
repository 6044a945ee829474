# What the scripts here share: a Python with pinned public packages in a temporary folder that goes with the script.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# packages PYTHON NAME==VERSION...: afterwards `python` is an interpreter that has them.
packages() {
    "$1" -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check "${@:2}"
}

python() { "$work/venv/bin/python" "$@"; }

# rust NAME==VERSION...: runs the program on standard input with these crates (exactly these versions, no others of ours). FINDINGS_TARGET
# keeps what was compiled for the next script.
rust() {
    mkdir -p "$work/program/src"
    {
        printf '[package]\nname = "finding"\nversion = "0.0.0"\nedition = "2024"\n[dependencies]\n'
        printf '%s\n' "$@" | sed -E 's/^([^=]+)==(.+)$/\1 = "=\2"/'
        printf '[workspace]\n'
    } > "$work/program/Cargo.toml"
    cat > "$work/program/src/main.rs"
    CARGO_TARGET_DIR=${FINDINGS_TARGET:-$work/target} \
        cargo run --quiet --release --manifest-path "$work/program/Cargo.toml"
}
