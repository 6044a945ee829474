//! Its catalogue entry keeps its promises. The laws of samplers are asked of nets that are no densities, on which `nuts-rs` gives up: what
//! holds of its chains is tested beside it.

use ebm_samplers_nuts_rs as _;

#[test]
fn components_keep_their_promises() {
    ebm_testkit::check_components(env!("CARGO_PKG_NAME")).expect("a component breaks a law");
}
