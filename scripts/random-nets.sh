#!/bin/sh
# Random cases far beyond those of CI: nets of the processor's engine (CASES, 20000 if not given, each on every instruction set of this
# machine) against f64, and the property tests of derivatives, compositions, programs and objectives (a tenth and a hundredth of that).
# Each run takes other cases; PROPTEST_RNG_SEED fixes them. What is found belongs into `nets_that_were_found` or beside its test.
set -eu
cases=${1:-20000}
cd "$(dirname "$0")/.."
unset EBM_ISA
PROPTEST_CASES=$cases cargo test -q -p ebm-engine-cpu --lib -- random_nets
PROPTEST_CASES=$((cases / 10)) cargo test -q -p ebm-engine-cpu --lib -- all_shapes_agree
PROPTEST_CASES=$((cases / 10)) cargo test -q -p ebm-objectives --test whole random::
export PROPTEST_CASES=$((cases / 100 + 1))
cargo test -q -p ebm-core --test random_compositions
cargo test -q -p ebm-nn --test whole random_plans::
cargo test -q -p ebm-energies-compose --test random
cargo test -q -p ebm-transitions --test whole programs::
