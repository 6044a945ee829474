#!/bin/sh
# Random cases far beyond those of CI: nets of the processor's engine on every instruction set of this machine against f64 (CASES each, 20000
# if not given), and the property tests of derivatives, compositions, programs and objectives (a hundredth of that).
# Each run takes other cases; PROPTEST_RNG_SEED fixes them. What is found belongs into `nets_that_were_found` or beside its test.
set -eu
cases=${1:-20000}
cd "$(dirname "$0")/.."
for isa in portable avx2 avx512; do
    flag=$isa
    [ "$isa" = portable ] && flag=fpu
    if ! grep -qw "$flag\(f\)\?" /proc/cpuinfo; then
        echo "$isa: not on this processor"
        continue
    fi
    echo "$isa: $cases random nets of images, $((cases / 10)) of vectors"
    EBM_ISA=$isa PROPTEST_CASES=$cases cargo test -q -p ebm-engine-cpu --lib -- random_nets
    EBM_ISA=$isa PROPTEST_CASES=$((cases / 10)) cargo test -q -p ebm-engine-cpu --lib -- all_shapes_agree
done
export PROPTEST_CASES=$((cases / 100 + 1))
cargo test -q -p ebm-core --test random_compositions
cargo test -q -p ebm-nn --test random_plans
cargo test -q -p ebm-energies-compose --test random
cargo test -q -p ebm-objectives --test random
cargo test -q -p ebm-transitions --test programs
