#!/usr/bin/env bash
# Finds code that makes or casts numbers in f64 on whatever device a tensor lies on: Metal has no such type. What computes in f64 takes
# `ebm_core::host::wide` (a tensor, to the processor first) or `ebm_core::host::given` (plain numbers, rounded before they go to a device).
# Tests, and crates that never see another device than the processor, may do as they like.
set -euo pipefail
cd "$(dirname "$0")/.."
found=$(find crates plugins -path '*/src/*' -name '*.rs' \
    ! -path '*/tests/*' ! -name 'tests.rs' ! -name 'testing.rs' ! -name '*_tests.rs' \
    ! -path 'crates/ebm-testkit/*' ! -path 'crates/ebm-engine-cpu/*' ! -path 'crates/ebm-exchange/*' ! -path 'crates/ebm-python/*' \
    ! -path 'plugins/ebm-exchange-paper/*' ! -path 'crates/ebm-core/src/devices/host.rs' -print0 | sort -z |
    xargs -0 awk '
        FNR == 1 { tests = 0 }
        /#\[cfg\(test\)\]/ { tests = 1 }
        tests { next }
        /^ *\/\// || /f32/ { next }
        /to_dtype\((candle_core::)?(DType::)?F64\)/ || /Tensor::(new|full|from_vec|from_slice|zeros|ones)\(.*device\(\)\)\?\.to_dtype/ { print FILENAME ":" FNR ": " $0 }')
if [ -n "$found" ]; then
    echo "numbers in f64 on any device; take ebm_core::host::wide or host::given:"
    echo "$found"
    exit 1
fi
