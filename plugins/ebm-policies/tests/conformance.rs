//! Catalogue entries of the policies.

use ebm_policies as _;

#[test]
fn components_are_what_their_tables_say() {
    ebm_testkit::check_components("ebm-policies").unwrap_or_else(|f| panic!("{f}"));
}
