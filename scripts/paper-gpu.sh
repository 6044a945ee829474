#!/usr/bin/env bash
# Runs the CUDA path on a machine without a GPU, over a driver and libraries that do no work (scripts/paper-gpu): numbers are zeros, but the
# calls are those that a GPU would get. Told is how many steps were recorded and played, and what no driver would put up with: work on memory that was
# given back, memory of a recording used in no order with its taking and giving back, calls that a recording forbids.
#
#     eval "$(scripts/setup-cuda.sh --empty DIR)"
#     TESTS=$(cargo test --no-run -p ebm-engine-gpu --lib --features cuda,cudnn 2>&1 | sed -n 's/.*(\(.*\))$/\1/p') scripts/paper-gpu.sh
#
# TESTS is the test program of ebm-engine-gpu; it must load the CUDA libraries at run time, as setup-cuda.sh has it. Kernels' own operands are
# seen where their PTX is: in a program built with `--lean` or without either, or in the folder that PAPER_GPU_PTX names.
set -euo pipefail
TESTS=$(realpath "${TESTS:?the test program of ebm-engine-gpu, built with cuda and cudnn}")
cd "$(dirname "$0")/paper-gpu"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
c++ -std=c++17 -O1 -Wall -shared -fPIC -o "$folder/libcuda.so.1" driver.cpp
c++ -std=c++17 -O1 -Wall -shared -fPIC -o "$folder/libpaper.so" libraries.cpp -L"$folder" -l:libcuda.so.1 -Wl,-rpath,'$ORIGIN'
for name in libcublas.so.13 libcublasLt.so.13 libcurand.so.10 libcudnn.so.9; do ln -s libpaper.so "$folder/$name"; done

failed=0
run() { # what, test, branches, recordings
    echo "== $1"
    if ! LD_LIBRARY_PATH=$folder PAPER_GPU_REPORT=$folder/report EBM_GPU_BRANCHES=$3 "$TESTS" --nocapture --exact "$2" > "$folder/out" 2>&1; then
        echo "FAILED  the test:"
        tail -30 "$folder/out"
        failed=1
    fi
    cat "$folder/report"
    if ! grep -q "1 passed" "$folder/out"; then echo "FAILED  there is no test $2"; failed=1; fi
    if ! grep -qx "recordings $4" "$folder/report"; then echo "FAILED  wanted $4 recordings"; failed=1; fi
    if ! grep -qx "faults 0" "$folder/report"; then echo "FAILED  the driver found faults"; failed=1; fi
}
run "three updates with a walk of seven steps each" tests::paper::training_over_the_paper_driver 0 1
# In f32, tf32 and bf16: an energy and a recording each.
run "three walks of three scales in each type" tests::paper::walks_over_the_paper_driver 0 3
run "the same, scales in no order" tests::paper::walks_over_the_paper_driver 1 3
run "three updates of an energy of noise levels at three temperatures" tests::paper::levels_and_temperatures_over_the_paper_driver 0 1
run "a step that panics while it is recorded" tests::paper::a_panic_over_the_paper_driver 0 1
run "a step that wants more memory than the one before" tests::paper::a_larger_convolution_over_the_paper_driver 0 1
exit $failed
