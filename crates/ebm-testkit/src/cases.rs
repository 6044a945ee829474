//! How many random cases a property test runs.

/// `usual`, unless the environment variable `PROPTEST_CASES` has a number.
///
/// ```
/// // #![proptest_config(ProptestConfig::with_cases(ebm_testkit::cases(32)))]
/// assert!(ebm_testkit::cases(32) > 0);
/// ```
pub fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}
