//! An objective alone, without a run: what the book shows.

use std::error::Error;

use ebm_core::candle::{DType, Device};
use ebm_core::{Batch, Chains, Key, Objective, StepInput};
use ebm_objectives::EquilibriumMatching;

#[test]
fn an_objective_needs_an_energy_and_data() -> Result<(), Box<dyn Error>> {
    // ANCHOR: objective
    let e = ebm_testkit::toy::mlp(2, 8, 1, 3)?; // any `EnergyFn`
    let data = Key::root(1).normal(&Chains::range(0, 64), &[2], DType::F64, &Device::Cpu)?;
    let data = Batch::new(data)?;
    let objective = EquilibriumMatching { deviation: 1.0, gain: 4.0, flat: 0.8 };
    let demands = objective.demands(&e, &StepInput::new(&data, None, None, 0), Key::root(2))?;
    let (gradients, losses) = ebm_testkit::fulfil_plainly(&e, demands)?;
    // ANCHOR_END: objective
    assert!(gradients.len() == e_parameters(&e) && losses["eqm"] > 0.0, "{losses:?}");
    Ok(())
}

fn e_parameters(e: &dyn ebm_core::EnergyFn) -> usize {
    e.params().trainable().count()
}
