//! The energy kind of this crate obeys the laws of a component. Its example names a run directory,
//! so one is made, and the process moves to where the example finds it; hence one test alone here.

#![allow(clippy::unwrap_used)]

mod common;

use common::plan;
use ebm_train::{TrainState, checkpoint};

#[test]
fn the_checkpoint_energy_is_what_its_table_says() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&[("data", "kind = \"test-data\"\ndim = 2")]);
    let state = TrainState::new(&plan).unwrap();
    checkpoint::save(&plan, &state, &dir.path().join("runs/digits-0-1/checkpoints")).unwrap();
    std::env::set_current_dir(dir.path()).unwrap();
    ebm_testkit::check_components("ebm-model").unwrap_or_else(|f| panic!("{f}"));
}
