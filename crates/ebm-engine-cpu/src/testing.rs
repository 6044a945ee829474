//! What the random tests of both paths share: how many cases, on which instruction sets.

use proptest::test_runner::Config;

use crate::simd::Isa;

/// So many cases of a property, unless `PROPTEST_CASES` says how many.
pub(crate) fn cases(usual: u32) -> Config {
    let config = Config::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config,
        None => Config { cases: usual, ..config },
    }
}

/// The set that `EBM_ISA` names, else all of those here.
pub(crate) fn sets() -> Vec<Isa> {
    match std::env::var_os("EBM_ISA") {
        Some(_) => vec![Isa::chosen().unwrap_or_else(|why| panic!("{why}"))],
        None => Isa::ALL.into_iter().filter(|i| i.available()).collect(),
    }
}
