//! Catalogue entries of the optimisers.

use ebm_optimisers as _;

#[test]
fn components_are_what_their_tables_say() {
    ebm_testkit::check_components("ebm-optimisers").unwrap_or_else(|f| panic!("{f}"));
}
