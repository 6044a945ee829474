//! The laws of an objective: its demands are the gradient of its values, portions add up, names are its own.

use std::collections::BTreeMap;

use ebm_core::candle::{DType, Tensor};
use ebm_core::{
    Demand, Demands, EnergyFn, Key, Objective, Portion, Result, StepInput, TermName, WeightFn, What,
};

use crate::difference::{params_difference, relative_gap, relative_gap_all};
use crate::{Failure, Verdict};

/// Gradients by parameter (those of the objective as `objective.<name>`), and values by loss term.
pub type Fulfilled = (BTreeMap<String, Tensor>, BTreeMap<TermName, f64>);

/// Fulfils demands one by one, without merging.
///
/// # Errors
/// If the energy or a weight fails.
pub fn fulfil_plainly(e: &dyn EnergyFn, demands: Demands) -> Result<Fulfilled> {
    let (mut total, mut values) = (BTreeMap::<String, Tensor>::new(), demands.values);
    for d in demands.list {
        let (grads, value) = match d.what {
            What::Energy { at, weight, value, .. } => {
                let pass = e.grad_theta(&at, &weight)?;
                (pass.grads, value(&pass.terms)?)
            }
            What::Slope { at, v, value } => (e.grad_theta_slope(&at, &v)?.grads, value),
            What::Measure { .. } => continue,
            What::Own { name, at, grad, .. } => {
                (BTreeMap::from([(format!("objective.{name}"), grad(&e.terms(&at)?)?)]), 0.0)
            }
        };
        *values.entry(d.label).or_insert(0.0) += value;
        for (name, g) in grads {
            let sum = match total.get(&name) {
                Some(t) => (t + g)?,
                None => g,
            };
            total.insert(name, sum);
        }
    }
    Ok((total, values))
}

/// Checks `objective` on `e` with these inputs (f64):
///
/// 1. the same inputs and key give the same bits;
/// 2. every demand and value belongs to one of its terms;
/// 3. the gradient, in parameters of its own too, agrees with central differences of its value to 1e−6, samples held
///    fixed (an objective that acts through the sampler needs another test: its value is one of the whole chain);
/// 4. weights that are said to be a function of each row alone are one;
/// 5. if it keeps to portions and needs no samples, those of a batch add up to the batch.
///
/// # Errors
/// Names the first law that fails.
pub fn check_objective(objective: &dyn Objective, e: &dyn EnergyFn, input: &StepInput<'_>) -> Verdict {
    let (name, key) = (objective.name(), Key::root(23));
    Failure::unless(input.data.dtype() == DType::F64, || format!("{name}: check_objective needs f64 data"))?;
    let at = |input: &StepInput<'_>| fulfil_plainly(e, objective.demands(e, input, key)?);
    let (grads, values) = at(input)?;
    let again = at(input)?;
    let (gap, what) = relative_gap_all(&grads, &again.0)?;
    Failure::unless(gap == 0.0 && values == again.1, || {
        format!("{name}: the same inputs and key gave two results, {gap:.3e} apart in {what}")
    })?;
    let terms = objective.terms();
    if let Some(other) = values.keys().find(|label| !terms.contains(label)) {
        return Err(Failure::new(format!("{name}: demands for `{other}`, but its terms are {terms:?}")));
    }
    let needs = objective.needs();
    if needs.trail == 0 {
        let value = || Ok(at(input)?.1.values().sum::<f64>());
        let mut want = params_difference(e.params(), 1e-5, value)?;
        for (own, g) in params_difference(&objective.params(), 1e-5, value)? {
            want.insert(format!("objective.{own}"), g);
        }
        let (gap, what) = relative_gap_all(&grads, &want)?;
        // Truncation 1e−10 times third derivatives, rounding 1e−16/1e−5, over gradients of like size.
        Failure::unless(gap <= 1e-6, || {
            format!("{name}: the gradient in {what} is {gap:.3e} off the differences of its value")
        })?;
    }
    by_rows(&name, e, objective.demands(e, input, key)?)?;
    if objective.portions() && !needs.samples && input.data.len() > 1 {
        portions(objective, e, input, &(grads, values), key)?;
    }
    Ok(())
}

/// Asks for weights by row in parts, as an engine does.
fn by_rows(name: &str, e: &dyn EnergyFn, demands: Demands) -> Verdict {
    for Demand { label, what } in demands.list {
        let What::Energy { at, weight: WeightFn::ByRow(weight), .. } = what else { continue };
        let (rows, terms) = (at.len(), e.terms(&at)?);
        let whole = weight(0..rows, &terms)?;
        let cut = rows.div_ceil(3);
        for part in [0..cut, cut..rows] {
            let got = weight(part.clone(), &terms.narrow(0, part.start, part.len())?)?;
            let gap = relative_gap(&got, &whole.narrow(0, part.start, part.len())?)?;
            Failure::unless(gap <= 1e-11, || {
                format!(
                    "{name}: weights of `{label}` by row differ by {gap:.3e} if asked for rows {part:?} alone; state them with \
                     `Demands::energy`"
                )
            })?;
        }
    }
    Ok(())
}

fn portions(
    objective: &dyn Objective,
    e: &dyn EnergyFn,
    input: &StepInput<'_>,
    whole: &Fulfilled,
    key: Key,
) -> Verdict {
    let of = input.data.len();
    let mut sum = (BTreeMap::<String, Tensor>::new(), BTreeMap::<TermName, f64>::new());
    for (first, count) in [(0, 1), (1, of - 1)] {
        let data = input.data.narrow(first, count)?;
        let mut part = input.clone().with_portion(Portion { first, of });
        part.data = &data;
        let (grads, values) = fulfil_plainly(e, objective.demands(e, &part, key)?)?;
        for (name, g) in grads {
            let added = match sum.0.get(&name) {
                Some(t) => (t + g)?,
                None => g,
            };
            sum.0.insert(name, added);
        }
        values.into_iter().for_each(|(label, v)| *sum.1.entry(label).or_insert(0.0) += v);
    }
    let (gap, what) = relative_gap_all(&sum.0, &whole.0)?;
    let name = objective.name();
    Failure::unless(gap <= 1e-11, || format!("{name}: portions are {gap:.3e} off the batch in {what}"))?;
    for (label, v) in &whole.1 {
        let got = sum.1.get(label).copied().unwrap_or(f64::NAN);
        Failure::unless((got - v).abs() <= 1e-11 * (1.0 + v.abs()), || {
            format!("{name}: values of portions of `{label}` add up to {got}, that of the batch is {v}")
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::Device;
    use ebm_core::{Batch, Chains, Needs};

    use super::*;
    use crate::toy;

    /// `scale · mean E(data)`, with faults to plant.
    struct Mean {
        value: f64,
        of_portion: bool,
        by_row: bool,
        label: &'static str,
    }

    impl Objective for Mean {
        fn needs(&self) -> Needs {
            Needs::none()
        }
        fn portions(&self) -> bool {
            true
        }
        fn demands(&self, _: &dyn EnergyFn, input: &StepInput<'_>, _: Key) -> Result<Demands> {
            let (at, value, rows) = (input.data, self.value, input.data.len() as f64);
            let of = if self.of_portion { input.portion_of(at).of } else { at.len() } as f64;
            let mut demands = Demands::default();
            let by_row = self.by_row;
            demands.energy_by_row(
                self.label,
                "data",
                at,
                move |_, t| Ok((t.ones_like()? / if by_row { of } else { of * t.dim(0)? as f64 / rows })?),
                move |t| Ok(value * t.sum_all()?.to_scalar::<f64>()? / of),
            );
            Ok(demands)
        }
        fn name(&self) -> String {
            "mean".into()
        }
    }

    #[test]
    fn a_true_gradient_passes_and_four_faults_do_not() {
        let e = toy::mlp(3, 8, 2, 7).unwrap();
        let x = Key::root(1).normal(&Chains::range(0, 4), &[3], DType::F64, &Device::Cpu).unwrap();
        let data = Batch::new(x).unwrap();
        let checked = |mean: Mean| check_objective(&mean, &e, &StepInput::new(&data, None, None, 0));
        let verdict = |value, of_portion, label| checked(Mean { value, of_portion, by_row: true, label });
        verdict(1.0, true, "mean").unwrap();
        let text = |v: Verdict| v.unwrap_err().to_string();
        assert!(text(verdict(1.001, true, "mean")).contains("differences of its value"));
        assert!(text(verdict(1.0, false, "mean")).contains("portions"));
        assert!(text(verdict(1.0, true, "other")).contains("`other`"));
        let part = Mean { value: 1.0, of_portion: true, by_row: false, label: "mean" };
        assert!(text(checked(part)).contains("by row differ"));
    }
}
