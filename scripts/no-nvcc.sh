#!/usr/bin/env bash
# Stands in for nvcc: makes empty PTX, objects and archives, for type checks only (check-cuda.sh).
set -euo pipefail
mode= out= folder=.
inputs=()
while [ $# -gt 0 ]; do
    case $1 in
        --version) printf 'nvcc\n\n\nCuda compilation tools, release 13.0, V13.0.88\n'; exit 0 ;;
        --list-gpu-code) printf 'sm_80\nsm_90\n'; exit 0 ;;
        -c | --ptx | --lib) mode=$1 ;;
        -o) out=$2; shift ;;
        --output-directory) folder=$2; shift ;;
        --default-stream | -Xcompiler | -ccbin) shift ;;
        -*) ;;
        *) inputs+=("$1") ;;
    esac
    shift
done
case $mode in
    --ptx) for input in "${inputs[@]}"; do base=${input##*/}; : >"${out:-$folder/${base%.cu}.ptx}"; done ;;
    -c) : | cc -c -x c - -o "$out" ;;
    --lib) ar rcs "$out" "${inputs[@]}" ;;
esac
