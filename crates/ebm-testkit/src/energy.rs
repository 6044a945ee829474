//! The laws of an energy: five calls against differences, batching, order of rows, number type.

use std::ops::Range;

use ebm_core::candle::{D, DType, Tensor};
use ebm_core::{Batch, Chains, EnergyFn, Exactness, Key, Result, WeightFn};

use crate::difference::{relative_gap, relative_gap_all};
use crate::gap::{Care, Gap, params_gap, x_gap_of};
use crate::{Failure, Verdict};

/// Largest relative deviations that a check of an energy found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checked {
    /// ∇ₓE against differences of E.
    pub slope: f64,
    /// ∇_θ Σ wE against differences of it.
    pub grad_theta: f64,
    /// The mixed derivative against differences of ⟨v, ∇ₓE⟩ in θ.
    pub grad_theta_slope: f64,
    /// The Hessian-vector product against differences of ⟨v, ∇ₓE⟩ in x.
    pub hvp: f64,
    /// Rows alone or in another order against the batch.
    pub batching: f64,
}

/// Checks all five calls of `e` at `at` (both in f64) against central differences, to 1e−6 relative:
/// the truncation error of step 1e−4 on functions of unit scale is 1e−8, rounding 1e−11; where functions bend more, smaller steps
/// and their extrapolation have the word. For energies that take tangents by differences themselves, to 1e−4.
///
/// Also: the same batch gives the same bits twice, a batch equals its rows one by one, rows may be permuted, and the energy has `T`
/// columns. A condition of the batch goes with its rows. A failure names the parameter, its entry and both numbers.
///
/// # Errors
/// Names the first law that fails.
pub fn check_energy(e: &dyn EnergyFn, at: &Batch) -> Verdict<Checked> {
    let tolerance = if e.spec().exactness == Exactness::Exact { 1e-6 } else { 1e-4 };
    check_energy_within(e, at, 1e-4, tolerance)
}

/// The same with difference step `h` and relative `tolerance`.
///
/// # Errors
/// Names the first law that fails.
pub fn check_energy_within(e: &dyn EnergyFn, at: &Batch, h: f64, tolerance: f64) -> Verdict<Checked> {
    check_energy_with(e, at, Care { h, tolerance, most: usize::MAX })
}

/// The same in some entries of each tensor, for networks whose parameters are too many for all.
pub(crate) fn check_energy_with(e: &dyn EnergyFn, at: &Batch, care: Care) -> Verdict<Checked> {
    Failure::unless(at.dtype() == DType::F64, || {
        format!("check_energy needs f64 samples, found {:?}", at.dtype())
    })?;
    let spec = e.spec();
    let terms = e.terms(at)?;
    let want = [at.len(), spec.terms.len()];
    Failure::unless(terms.dims() == want, || {
        format!("terms: found shape {:?}, expected {want:?} (rows, terms)", terms.dims())
    })?;
    let again = relative_gap(&terms, &e.terms(at)?)?;
    Failure::unless(again == 0.0, || {
        format!(
            "terms: the same batch gave two results, {again:.3e} apart; an energy draws no random numbers and looks at no clock: take \
             noise from the condition or make it in the objective"
        )
    })?;
    let gaps =
        [slope(e, at, care)?, grad_theta(e, at, care)?, grad_theta_slope(e, at, care)?, hvp(e, at, care)?];
    for ((law, cause), gap) in FIVE.into_iter().zip(&gaps) {
        Failure::unless(gap.relative() <= care.tolerance, || {
            format!(
                "{law}: in {} (differences), relative deviation {:.3e}, allowed {:.0e}; {cause}",
                gap.at,
                gap.relative(),
                care.tolerance
            )
        })?;
    }
    let [slope, grad_theta, grad_theta_slope, hvp] = gaps.map(|gap| gap.relative());
    let batching = batching(e, at)?;
    // Rows are independent: only the order of sums inside a row may differ.
    Failure::unless(batching <= 1e-11, || {
        format!(
            "rows alone or permuted deviate from the batch by {batching:.3e}, allowed 1e-11; a mean, norm or maximum was taken over \
             the batch's axis, or a condition does not go with its row"
        )
    })?;
    Ok(Checked { slope, grad_theta, grad_theta_slope, hvp, batching })
}

/// Each of the four derivatives with its usual fault.
const FIVE: [(&str, &str); 4] = [
    (
        "slope against differences of the energy",
        "the second function of a `pointwise` is not the derivative of the first, or the sample was detached on the way",
    ),
    (
        "grad_theta against differences of the weighted energy",
        "a parameter was detached or copied out of the `View`, or enters by another way than the one that is differentiated",
    ),
    (
        "grad_theta_slope against differences of the directional slope",
        "something that is not linear in x went through `linear`, the derivative of a `pointwise` is wrong or detached from its \
         parameter, or `value()` took a tangent away",
    ),
    (
        "hvp against differences of the directional slope",
        "as for grad_theta_slope: `linear` of what is not linear, a wrong or detached derivative, a constant from `value()`",
    ),
];

fn number(t: &Tensor) -> Result<f64> {
    Ok(t.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?)
}

/// A fixed direction like the samples, and weights like the terms.
fn direction(at: &Batch) -> Result<Tensor> {
    Key::root(41).normal(&Chains::range(0, at.len()), at.sample_shape(), at.dtype(), at.device())
}

fn slope(e: &dyn EnergyFn, at: &Batch, care: Care) -> Verdict<Gap> {
    let s = e.slope(at)?;
    Failure::unless(s.energy.dims() == [at.len()] && s.grad.dims() == at.x.dims(), || {
        format!("slope: found shapes {:?} and {:?}", s.energy.dims(), s.grad.dims())
    })?;
    let energy = e.energy(at)?;
    let same = relative_gap(&s.energy, &energy)?;
    Failure::unless(same <= 1e-11, || format!("energies of slope and terms differ by {same:.3e} relative"))?;
    Ok(x_gap_of(&s.grad, &at.x, care, |x| number(&e.energy(&at.with_x(x.clone()))?))?)
}

/// Weights that look at the terms, so that a call which ignores them is found out.
fn weight(rows: Range<usize>, terms: &Tensor) -> Result<Tensor> {
    let (b, t) = terms.dims2()?;
    let chains = Chains::range(rows.start as u64, b);
    let fixed = Key::root(43).normal(&chains, &[t], terms.dtype(), terms.device())?;
    Ok((fixed + terms.affine(0.3, 0.0)?)?)
}

fn grad_theta(e: &dyn EnergyFn, at: &Batch, care: Care) -> Verdict<Gap> {
    let got = e.grad_theta(at, &WeightFn::of_all(|terms| weight(0..at.len(), terms)))?;
    let terms = e.terms(at)?;
    let same = relative_gap(&got.terms, &terms)?;
    Failure::unless(same <= 1e-11, || format!("terms of grad_theta and terms() differ by {same:.3e}"))?;
    // The same weights, asked for in parts: another order of sums at most.
    let by_row = e.grad_theta(at, &WeightFn::by_row(weight))?;
    let (gap, what) = relative_gap_all(&by_row.grads, &got.grads)?;
    let gap = gap.max(relative_gap(&by_row.terms, &terms)?);
    Failure::unless(gap <= 1e-11, || {
        format!("grad_theta by rows and of all rows differ by {gap:.3e} in {what}")
    })?;
    // The weights are constants of the gradient: fixed at the terms of this point.
    let w = weight(0..at.len(), &terms)?;
    Ok(params_gap(e.params(), &got.grads, care, || number(&(e.terms(at)? * &w)?))?)
}

fn along(e: &dyn EnergyFn, at: &Batch, v: &Tensor) -> Result<f64> {
    number(&(e.slope(at)?.grad * v)?)
}

fn grad_theta_slope(e: &dyn EnergyFn, at: &Batch, care: Care) -> Verdict<Gap> {
    let v = direction(at)?;
    let got = e.grad_theta_slope(at, &v)?;
    Ok(params_gap(e.params(), &got.grads, care, || along(e, at, &v))?)
}

fn hvp(e: &dyn EnergyFn, at: &Batch, care: Care) -> Verdict<Gap> {
    let v = direction(at)?;
    let got = e.hvp(at, &v)?;
    Failure::unless(got.dims() == at.x.dims(), || format!("hvp: found shape {:?}", got.dims()))?;
    Ok(x_gap_of(&got, &at.x, care, |x| along(e, &at.with_x(x.clone()), &v))?)
}

fn batching(e: &dyn EnergyFn, at: &Batch) -> Verdict<f64> {
    let v = direction(at)?;
    let whole = (e.terms(at)?, e.slope(at)?.grad, e.hvp(at, &v)?);
    let mut worst = 0f64;
    let rows: Vec<usize> = (0..at.len()).rev().collect();
    for &r in &rows {
        let (one, v) = (at.narrow(r, 1)?, v.narrow(0, r, 1)?);
        let parts = [
            (e.terms(&one)?, whole.0.narrow(0, r, 1)?),
            (e.slope(&one)?.grad, whole.1.narrow(0, r, 1)?),
            (e.hvp(&one, &v)?, whole.2.narrow(0, r, 1)?),
        ];
        for (alone, together) in parts {
            worst = worst.max(relative_gap(&alone, &together)?);
        }
    }
    let index: Vec<u32> = rows.iter().map(|r| *r as u32).collect();
    let index = Tensor::new(index.as_slice(), at.device())?;
    let turned = at
        .with_x(at.x.index_select(&index, 0)?)
        .with_cond(at.cond.as_ref().map(|c| c.index_select(&index, 0)).transpose()?);
    worst = worst.max(relative_gap(&e.energy(&turned)?, &whole.0.sum(D::Minus1)?.index_select(&index, 0)?)?);
    worst = worst.max(relative_gap(&e.slope(&turned)?.grad, &whole.1.index_select(&index, 0)?)?);
    // A batch of all rows must sum the gradients of its parts.
    let ones = WeightFn::ones();
    let together = e.grad_theta(at, &ones)?;
    let half = at.len() / 2;
    if half > 0 {
        let mut sum = e.grad_theta(&at.narrow(0, half)?, &ones)?;
        sum.accumulate(&e.grad_theta(&at.narrow(half, at.len() - half)?, &ones)?.grads, 1.0)?;
        worst = worst.max(relative_gap_all(&sum.grads, &together.grads)?.0);
    }
    Ok(worst)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::Device;

    use super::*;
    use crate::toy;

    fn batch(d: usize) -> Batch {
        let x = Key::root(5).normal(&Chains::range(0, 4), &[d], DType::F64, &Device::Cpu).unwrap();
        Batch::new(x).unwrap()
    }

    #[test]
    fn toys_pass() {
        check_energy(&toy::bowl(3, 1.7).unwrap(), &batch(3)).unwrap();
        check_energy(&toy::mlp(3, 6, 2, 1).unwrap(), &batch(3)).unwrap();
    }
}
