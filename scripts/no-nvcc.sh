#!/usr/bin/env bash
# Stands in for nvcc (check-cuda.sh, setup-cuda.sh): makes empty PTX, and objects that hold nothing but the functions that candle's quantised tensors
# call, each of which ends the program. With REAL_NVCC the PTX of everything else is that compiler's.
set -euo pipefail
all=("$@")
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
    --ptx)
        if [ -n "${REAL_NVCC:-}" ] && [[ ${inputs[*]} != *quantized* ]]; then exec "$REAL_NVCC" "${all[@]}"; fi
        for input in "${inputs[@]}"; do base=${input##*/}; : >"${out:-$folder/${base%.cu}.ptx}"; done
        ;;
    -c)
        # All of them in one object: the crate declares them in one file beside this source.
        declared=$(dirname "${inputs[0]}")/ffi.rs
        if [[ ${inputs[0]} == */mmvq_gguf.cu ]] && [ -e "$declared" ]; then
            sed -n 's/^ *pub fn \([A-Za-z0-9_]*\).*/void \1(void) { __builtin_trap(); }/p' "$declared"
        fi | cc -c -x c -fPIC - -o "$out"
        ;;
    --lib) ar rcs "$out" "${inputs[@]}" ;;
esac
