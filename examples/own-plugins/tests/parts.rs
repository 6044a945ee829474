//! Parts alone, as the book shows them: the laws of a part that is not registered, and a formula for every entry of a tensor.

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::operators::{Entry, Formula, map_entries};
use ebm_core::{Batch, Chains, Key};
use ebm_testkit::Verdict;
use own_plugins::Leaping;

#[test]
fn a_part_is_held_to_its_laws_at_settings_of_its_own() -> Verdict {
    let my_energy = ebm_testkit::toy::mlp(2, 8, 1, 7)?;
    let x = Key::root(1).normal(&Chains::range(0, 4), &[2], DType::F64, &Device::Cpu)?;
    let my_batch = Batch::new(x)?;
    // ANCHOR: laws
    // A part of any settings, on inputs that the kit chooses: laws::energy, laws::sampler, laws::objective, …
    ebm_testkit::laws::transition(&Leaping { step_size: 0.05, noise: 0.3, leaps: 0.5 }, &[2])?;
    // On inputs of your own: check_energy, check_transition, check_sampler, check_objective, …
    ebm_testkit::check_energy(&my_energy, &my_batch)?;
    // ANCHOR_END: laws
    Ok(())
}

// ANCHOR: formula
/// p − rate·g.
struct Descent {
    rate: f64,
}

// One number, two tensors in, one out.
impl Formula<1, 2, 1> for Descent {
    fn numbers(&self) -> [f64; 1] {
        [self.rate]
    }
    fn entry<E: Entry>([rate]: [E; 1], [p, g]: [E; 2]) -> [E; 1] {
        [p - rate * g]
    }
}
// ANCHOR_END: formula

#[test]
fn a_formula_runs_on_every_entry() -> Verdict {
    let tensor = |values: [f64; 3]| Tensor::new(&values, &Device::Cpu);
    // ANCHOR: mapped
    let (p, g) = (tensor([1.0, 2.0, 4.0])?, tensor([2.0, -2.0, 0.0])?);
    let [moved] = map_entries(&Descent { rate: 0.5 }, [&p, &g])?;
    // ANCHOR_END: mapped
    assert_eq!(moved.to_vec1::<f64>()?, [0.0, 3.0, 4.0]);
    Ok(())
}
