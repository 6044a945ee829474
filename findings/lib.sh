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
