//! Every component keeps the promises of its catalogue entry.

use ebm_moves_discrete as _;

#[test]
fn components_keep_their_promises() {
    ebm_testkit::check_components(env!("CARGO_PKG_NAME")).expect("a component breaks a law");
}
