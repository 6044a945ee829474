//! Everything that is asked of an energy: five calls at several places, conditions, corners, single precision, its density.

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Batch, Chains, Condition, Density, EnergyFn, Exactness, Key, Result, WeightFn};

use super::targets::{self, z_of};
use crate::difference::relative_gap;
use crate::energy::check_energy_with;
use crate::gap::{Care, derivative};
use crate::{Failure, Verdict};

/// Checks `e`, whose parameters are in f64; `single` is the same energy in f32, if there is one:
///
/// 1. the five calls, batching and order of rows as in [`check_energy`](crate::check_energy), at usual samples, at draws of its density if it
///    has one, and under a condition if it takes one;
/// 2. an energy that must have a condition refuses to go without, one that may have it goes without;
/// 3. at corners (zeros, ones, all values alike, far out) nothing is NaN, and where the energy is smooth there its slope and
///    Hessian-vector product are those of its neighbourhood;
/// 4. in single precision it gives the same to a hundredth;
/// 5. of a density: `log p + E` is one constant, draws go by chain and key, and follow exp(−E).
///
/// # Errors
/// Names the first law that fails.
pub fn energy(e: &dyn EnergyFn, single: Option<&dyn EnergyFn>) -> Verdict {
    let spec = e.spec();
    let tolerance: f64 = if spec.exactness == Exactness::Exact { 1e-6 } else { 1e-4 };
    let len: usize = spec.sample_shape.iter().product();
    let (rows, most) = match e.params().count() + len {
        ..=400 => (3, usize::MAX),
        401..=20_000 => (3, 3),
        _ => (2, 0),
    };
    // Norms of few values bend strongly, and sums over thousands of rounded numbers leave more.
    let tolerance = if most < usize::MAX { tolerance.max(1e-5) } else { tolerance };
    let care = Care { h: 1e-4, tolerance, most };
    let at = Batch::new(targets::usual(e, rows, Key::root(2))?)?;
    let under = |at: &Batch| -> Result<Batch> { Ok(at.clone().with_cond(targets::condition(e, at.len())?)) };
    if !matches!(spec.condition, Condition::Required(_)) {
        check_energy_with(e, &at, care)?;
    }
    match spec.condition {
        Condition::None => {}
        Condition::Optional(_) => drop(check_energy_with(e, &under(&at)?, care).map_err(conditional)?),
        Condition::Required(n) => {
            check_energy_with(e, &under(&at)?, care).map_err(conditional)?;
            Failure::unless(e.terms(&at).is_err(), || {
                format!(
                    "conditions: it must have one of length {n}, but takes a batch without; call `EnergySpec::check` or say `Optional`"
                )
            })?;
        }
    }
    if let Some(d) = e.density() {
        let draws = Batch::new(d.draw(&Chains::range(0, rows), Key::root(3))?)?;
        check_energy_with(e, &draws, care)
            .map_err(|f| Failure::new(format!("at draws of its density: {f}")))?;
        density(e, d)?;
    }
    corners(e, &under)?;
    if let Some(single) = single {
        precision(e, single, &under(&at)?)?;
    }
    Ok(())
}

fn conditional(f: Failure) -> Failure {
    Failure::new(format!("under a condition: {f}"))
}

/// Samples at which functions tend to break: `(4, ...)`.
fn corner_samples(shape: &[usize]) -> Result<Vec<(&'static str, Tensor)>> {
    let mut dims = vec![1];
    dims.extend_from_slice(shape);
    let all = |v: f64| -> Result<Tensor> { Ok(Tensor::full(v, dims.as_slice(), &Device::Cpu)?) };
    Ok(vec![("zeros", all(0.0)?), ("ones", all(1.0)?), ("halves", all(0.5)?), ("fifties", all(50.0)?)])
}

fn corners(e: &dyn EnergyFn, under: &dyn Fn(&Batch) -> Result<Batch>) -> Verdict {
    // A pass of a large network costs what all of a small energy does.
    let large = e.params().count() > 20_000;
    for (name, x) in corner_samples(&e.spec().sample_shape)?.into_iter().take(if large { 1 } else { 4 }) {
        let at = under(&Batch::new(x)?)?;
        let v = Key::root(41).normal(&Chains::range(0, 1), at.sample_shape(), DType::F64, &Device::Cpu)?;
        let ones = WeightFn::ones();
        let (terms, slope, hvp) = (e.terms(&at)?, e.slope(&at)?, e.hvp(&at, &v)?);
        let energy = targets::sum(&terms)?;
        let mut parts = vec![("terms".to_string(), terms), ("the slope".into(), slope.grad.clone())];
        // Where the energy itself is infinite its derivatives are nobody's.
        if energy.is_finite() {
            parts.push(("the Hessian-vector product".into(), hvp.clone()));
            for (call, grads) in [
                ("grad_theta", e.grad_theta(&at, &ones)?),
                ("grad_theta_slope", e.grad_theta_slope(&at, &v)?),
            ] {
                parts.extend(grads.grads.into_iter().map(|(name, g)| (format!("{call} of `{name}`"), g)));
            }
        }
        for (what, t) in parts {
            let bad = targets::numbers(&t)?.into_iter().find(|v| v.is_nan());
            Failure::unless(bad.is_none(), || {
                format!(
                    "corners: at {name} {what} is NaN; a root, logarithm or quotient at 0, or ∞ − ∞: shift its argument, or use a \
                     stable form such as `softplus` and `log_sum_exp_last`"
                )
            })?;
        }
        if large {
            continue;
        }
        let along = |t: f64| -> Result<Batch> { Ok(at.with_x((&at.x + v.affine(t, 0.0)?)?)) };
        let rise = |t: f64| targets::sum(&e.energy(&along(t)?)?);
        let bend = |t: f64| targets::sum(&(e.slope(&along(t)?)?.grad * &v)?);
        for (call, got, want) in [
            ("slope", targets::sum(&(&slope.grad * &v)?)?, smooth(rise)?),
            ("hvp", targets::sum(&(&hvp * &v)?)?, smooth(bend)?),
        ] {
            let Some(want) = want.filter(|_| energy.is_finite() && got.is_finite()) else { continue };
            Failure::unless((got - want).abs() <= 1e-3 * (got.abs() + want.abs()) + 1e-5, || {
                format!(
                    "corners: at {name} {call} along a direction is {got:.6e}, differences say {want:.6e}, from both sides; a special \
                     case for this value has another derivative than its neighbourhood"
                )
            })?;
        }
    }
    Ok(())
}

/// The derivative of `f` at 0, where both sides agree on it.
fn smooth(f: impl Fn(f64) -> Result<f64>) -> Result<Option<f64>> {
    let h = 1e-5;
    let (low, mid, high) = (f(-h)?, f(0.0)?, f(h)?);
    let (left, right) = ((mid - low) / h, (high - mid) / h);
    let agree = (left - right).abs() <= 1e-3 * (left.abs() + right.abs()) + 1e-9 * mid.abs() / h;
    if !agree {
        return Ok(None);
    }
    let d = derivative(1e-4, f)?;
    Ok((d.truncation + d.rounding <= 1e-4 * (d.value.abs() + 1e-3)).then_some(d.value))
}

fn precision(e: &dyn EnergyFn, single: &dyn EnergyFn, at: &Batch) -> Verdict {
    let rounded = at.with_x(at.x.to_dtype(DType::F32)?);
    let cond = at.cond.as_ref().map(|c| c.to_dtype(DType::F32)).transpose()?;
    let rounded = rounded.with_cond(cond);
    let fails = |err: ebm_core::Error| {
        Failure::new(format!(
            "single precision: {err}; make constants in the number type of the samples (`x.dtype()`), not in a fixed one"
        ))
    };
    let (low, high) = (single.slope(&rounded).map_err(fails)?, e.slope(at)?);
    single.hvp(&rounded, &rounded.x).map_err(fails)?;
    Failure::unless(low.energy.dtype() == DType::F32 && low.grad.dtype() == DType::F32, || {
        format!(
            "single precision: slopes are {:?} and {:?}, wanted F32",
            low.energy.dtype(),
            low.grad.dtype()
        )
    })?;
    // Logits of narrow densities come to thousands, rounded to 1e-4 of one.
    let gap = relative_gap(&low.energy, &high.energy)?.max(relative_gap(&low.grad, &high.grad)?);
    Failure::unless(gap <= 1e-2, || {
        format!(
            "single precision: energies or slopes are {gap:.3e} from those in f64, allowed 1e-2; numbers cancel"
        )
    })
}

/// Draws that moments are taken of.
const DRAWS: usize = 4000;

fn density(e: &dyn EnergyFn, d: &dyn Density) -> Verdict {
    let key = Key::root(5);
    let chains = Chains::range(0, DRAWS);
    let x = d.draw(&chains, key)?;
    let some = d.draw(&Chains::from_ids(vec![7, 3]), key)?;
    let own = Tensor::cat(&[x.narrow(0, 7, 1)?, x.narrow(0, 3, 1)?], 0)?;
    Failure::unless(relative_gap(&some, &own)? == 0.0, || {
        "density: a chain drawn alone is another than among others; make its numbers of the chain's identity"
            .into()
    })?;
    Failure::unless(relative_gap(&d.draw(&chains, Key::root(6))?, &x)? > 0.0, || {
        "density: another key gave the same draws".into()
    })?;
    let at = Batch::new(x)?;
    let few = at.narrow(0, 50)?;
    let sums = targets::numbers(&(e.energy(&few)? + d.log_density(&few)?)?)?;
    let top = targets::numbers(&e.energy(&few)?)?.into_iter().fold(1.0, |m: f64, v| m.max(v.abs()));
    let spread = sums.iter().fold(0.0, |m: f64, v| m.max((v - sums[0]).abs()));
    Failure::unless(spread <= 1e-10 * top, || {
        format!("density: log p + E moves by {spread:.3e} from draw to draw, wanted one constant, −log Z")
    })?;
    let slope = e.slope(&at)?.grad;
    let flat: usize = e.spec().sample_shape.iter().product();
    if flat > 40 || crate::difference::largest(&slope)? == 0.0 {
        return Ok(());
    }
    let columns = |t: &Tensor| -> Result<Vec<Vec<f64>>> {
        Ok(t.to_dtype(DType::F64)?.flatten_from(1)?.t()?.to_vec2::<f64>()?)
    };
    for (i, (x, g)) in columns(&at.x)?.into_iter().zip(columns(&slope)?).enumerate() {
        // Integration by parts under exp(−E): E[∂E] = 0, E[x ∂E] = 1 (Stein 1972).
        let products: Vec<f64> = x.iter().zip(&g).map(|(x, g)| x * g - 1.0).collect();
        for (what, values) in [("the mean of ∂E", &g), ("the mean of x·∂E − 1", &products)] {
            let (mean, z) = z_of(values);
            // 4000 draws under one key: six standard errors leave room for heavy tails.
            Failure::unless(z.abs() < 6.0, || {
                format!(
                    "density: over {DRAWS} draws {what} in coordinate {i} is {mean:.4e}, {z:.1} standard errors from 0; the draws are \
                     not those of exp(−E)"
                )
            })?;
        }
        for (what, stated, power) in [("mean", d.mean(), 1), ("variance", d.variance(), 2)] {
            let (Some(stated), Some(centre)) = (stated, d.mean()) else { continue };
            let values: Vec<f64> = x
                .iter()
                .map(|x| if power == 1 { x - stated[i] } else { (x - centre[i]).powi(2) - stated[i] })
                .collect();
            let (off, z) = z_of(&values);
            Failure::unless(z.abs() < 6.0, || {
                format!(
                    "density: the {what} of coordinate {i} is stated as {:.5}, that of {DRAWS} draws is {off:.4e} ({z:.1} standard errors) off",
                    stated[i]
                )
            })?;
        }
    }
    Ok(())
}
