#!/usr/bin/env bash
# What it takes to BUILD with the feature `cuda` (and `cudnn`) on a machine with neither a GPU nor a CUDA toolkit, Linux x86-64:
#
#     eval "$(scripts/setup-cuda.sh DIR)"
#     cargo build --release -p ebm-cli --features cuda --target-dir target/cuda
#
# DIR becomes a Python virtual environment with NVIDIA's compiler and headers of CUDA 13.0 (about 105 MB of downloads).
# Standard output is nothing but `export` lines. The program that is built loads the CUDA libraries when it opens a GPU, so it also starts
# where there are none. With a CUDA toolkit installed none of this is needed: `cargo build --features cuda` links to it.
#
# `--lean DIR` leaves candle's kernels for quantised tensors out, which nothing here calls: two thirds of the compiler's time and a third of the
# program. `--empty DIR` leaves all kernels out and downloads nothing: what is built then links and starts, and can open no GPU.
#
# CUDA_COMPUTE_CAP may be set before: 80 without it, which the driver compiles for any newer GPU at its first use.
set -euo pipefail

kind=whole
case ${1:-} in --lean | --empty) kind=${1#--}; shift ;; esac
dir=${1:?usage: setup-cuda.sh [--lean | --empty] DIR}
scripts=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
say() { printf 'setup-cuda: %s\n' "$*" >&2; }

home=$dir/empty
if [ $kind != empty ]; then
    # All of one release, without dependencies: pip would mix in the newest of each.
    packages=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88
              nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85)
    [ -x "$dir/bin/python" ] || python3 -m venv "$dir" >&2
    say "installing ${packages[*]}"
    "$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "${packages[@]}" >&2
    home=$("$dir/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/nvidia/cu13
    [ -x "$home/bin/nvcc" ] || { say "no nvcc under $home"; exit 1; }
    ln -sfn lib "$home/lib64"   # where nvcc looks
fi

# candle asks the linker for the CUDA libraries. Empty archives satisfy it: with the cfg below they are loaded at run time instead.
# The CUDA runtime is linked statically, and loads the driver by itself.
mkdir -p "$home/lib/stubs"
for library in cuda cublas cublasLt curand nvrtc cudnn nccl; do
    [ -e "$home/lib/stubs/lib$library.a" ] || ar rcs "$home/lib/stubs/lib$library.a"
done
if [ $kind = empty ]; then
    ln -sfn lib "$home/lib64"
    ar rcs "$home/lib/stubs/libcudart.a"
else
    ln -sfn ../libcudart_static.a "$home/lib/stubs/libcudart.a"
fi

host=$(rustc -vV | sed -n 's/^host: //p')
name=$(printf '%s' "$host" | tr 'a-z-' 'A-Z_')
# The rustflags of an explicit target do not reach build scripts, whose checks would refuse the cfg.
cat <<EXPORTS
export CUDA_HOME='$home' CUDA_PATH='$home' PATH='$home/bin':"\$PATH"
export CUDA_COMPUTE_CAP='${CUDA_COMPUTE_CAP:-80}' CUDARC_CUDA_VERSION=13000 NVCC_APPEND_FLAGS='-I$home/include'
export CARGO_BUILD_TARGET='$host' CARGO_TARGET_${name}_RUSTFLAGS='--cfg feature="dynamic-loading"'
EXPORTS
case $kind in
    lean) printf "export NVCC='%s' REAL_NVCC='%s'\n" "$scripts/no-nvcc.sh" "$home/bin/nvcc" ;;
    empty) printf "export NVCC='%s'\n" "$scripts/no-nvcc.sh" ;;
esac
