//! The step of Adam on one tensor (Kingma, Ba 2015, algorithm 1), which `adam` and `soap` take.

use std::collections::BTreeMap;

use ebm_core::candle::Tensor;
use ebm_core::operators::{Entry, Formula, map_each, map_entries};
use ebm_core::{OptimiserState, Result};

use crate::common::moment;

/// The numbers of one update.
#[derive(Clone, Copy)]
pub(crate) struct Factors {
    pub(crate) b1: f64,
    b2: f64,
    /// √(1 − β₂ᵗ)
    root: f64,
    /// rate/(1 − β₁ᵗ)
    step: f64,
    epsilon: f64,
    /// 1 − rate·weight decay
    pub(crate) keep: f64,
    /// Factor of the gradient.
    clip: f64,
}

impl Factors {
    /// Those of update `t` (from 1).
    pub(crate) fn new([b1, b2]: [f64; 2], epsilon: f64, weight_decay: f64, rate: f64, t: i32) -> Factors {
        Factors {
            b1,
            b2,
            root: (1.0 - b2.powi(t)).sqrt(),
            step: rate / (1.0 - b1.powi(t)),
            epsilon,
            keep: 1.0 - rate * weight_decay,
            clip: 1.0,
        }
    }

    /// The same for the gradient times a factor.
    pub(crate) fn clipped(self, clip: f64) -> Factors {
        Factors { clip, ..self }
    }

    /// As the formula takes them; what is left to 1 loses digits in f32, so it is made here.
    fn numbers(&self) -> [f64; 9] {
        let (c1, c2) = (1.0 - self.b1, 1.0 - self.b2);
        [self.clip, self.b1, c1, self.b2, c2, self.root, self.step, self.epsilon, self.keep]
    }
}

/// θ, m and v after an update. Without m, β₁ is 0 and the first moment is the gradient. In line, as its callers: a call for
/// each entry took longer than all the gradients of a small network.
#[inline(always)]
fn entry<E: Entry>(
    [clip, b1, c1, b2, c2, root, step, epsilon, keep]: [E; 9],
    [p, g, v]: [E; 3],
    m: Option<E>,
) -> (E, E, E) {
    let g = g * clip;
    let m = m.map_or(g, |m| b1 * m + c1 * g);
    let v = b2 * v + c2 * (g * g);
    (keep * p - step * m / (v.sqrt() / root + epsilon), m, v)
}

struct WithoutMean(Factors);

impl Formula<9, 3, 2> for WithoutMean {
    fn numbers(&self) -> [f64; 9] {
        self.0.numbers()
    }
    #[inline(always)]
    fn entry<E: Entry>(numbers: [E; 9], [p, g, v]: [E; 3]) -> [E; 2] {
        let (p, _, v) = entry(numbers, [p, g, v], None);
        [p, v]
    }
}

struct WithMean(Factors);

impl Formula<9, 4, 3> for WithMean {
    fn numbers(&self) -> [f64; 9] {
        self.0.numbers()
    }
    #[inline(always)]
    fn entry<E: Entry>(numbers: [E; 9], [p, g, v, m]: [E; 4]) -> [E; 3] {
        let (p, m, v) = entry(numbers, [p, g, v], Some(m));
        [p, v, m]
    }
}

/// A step and the moving average `e ← keep·e + (1 − keep)·θ` after it, in one pass.
struct Averaged<S>(S, f64);

impl<S: Formula<9, 3, 2>> Formula<11, 4, 3> for Averaged<S> {
    fn numbers(&self) -> [f64; 11] {
        with_share(self.0.numbers(), self.1)
    }
    #[inline(always)]
    fn entry<E: Entry>(numbers: [E; 11], [p, g, v, e]: [E; 4]) -> [E; 3] {
        let (numbers, share) = without_share(numbers);
        let [p, v] = S::entry(numbers, [p, g, v]);
        [p, v, mixed(share, e, p)]
    }
}

impl<S: Formula<9, 4, 3>> Formula<11, 5, 4> for Averaged<S> {
    fn numbers(&self) -> [f64; 11] {
        with_share(self.0.numbers(), self.1)
    }
    #[inline(always)]
    fn entry<E: Entry>(numbers: [E; 11], [p, g, v, m, e]: [E; 5]) -> [E; 4] {
        let (numbers, share) = without_share(numbers);
        let [p, v, m] = S::entry(numbers, [p, g, v, m]);
        [p, v, m, mixed(share, e, p)]
    }
}

#[inline(always)]
fn with_share([a, b, c, d, e, f, g, h, i]: [f64; 9], keep: f64) -> [f64; 11] {
    [a, b, c, d, e, f, g, h, i, keep, 1.0 - keep]
}

#[inline(always)]
fn without_share<E: Entry>([a, b, c, d, e, f, g, h, i, keep, rest]: [E; 11]) -> ([E; 9], [E; 2]) {
    ([a, b, c, d, e, f, g, h, i], [keep, rest])
}

#[inline(always)]
fn mixed<E: Entry>([keep, rest]: [E; 2], e: E, p: E) -> E {
    e * keep + p * rest
}

/// A parameter, its gradient, and its average with the share of it that stays, where there is one.
pub(crate) struct Given<'a> {
    pub(crate) name: &'a str,
    pub(crate) p: &'a Tensor,
    pub(crate) g: &'a Tensor,
    pub(crate) average: Option<(&'a Tensor, f64)>,
}

/// New values by name.
type Named = BTreeMap<String, Tensor>;

/// New values of parameters, and of their averages where there are any; the moments go to `next`. All at once where the device can.
pub(crate) fn tensors(
    all: &[Given<'_>],
    state: &OptimiserState,
    next: &mut OptimiserState,
    f: Factors,
) -> Result<(Named, Named)> {
    let first = |of: &Given<'_>| format!("exp_avg.{}", of.name);
    let second = |of: &Given<'_>| format!("exp_avg_sq.{}", of.name);
    let means = match f.b1 > 0.0 {
        true => Some(all.iter().map(|of| moment(state, &first(of), of.p)).collect::<Result<Vec<_>>>()?),
        false => None,
    };
    let squares = all.iter().map(|of| moment(state, &second(of), of.p)).collect::<Result<Vec<_>>>()?;
    let (mut params, mut averages) = (Named::new(), Named::new());
    // Those with an average and those without; what stays of an average is the same for all.
    let with: Vec<usize> = (0..all.len()).filter(|i| all[*i].average.is_some()).collect();
    let without: Vec<usize> = (0..all.len()).filter(|i| all[*i].average.is_none()).collect();
    let mut done = |i: usize, p: Tensor, v: Tensor, m: Option<Tensor>, e: Option<Tensor>| {
        next.tensors.extend(m.map(|m| (first(&all[i]), m)));
        next.tensors.insert(second(&all[i]), v);
        averages.extend(e.map(|e| (all[i].name.to_string(), e)));
        params.insert(all[i].name.to_string(), p);
    };
    let keep = with.first().and_then(|i| all[*i].average).map_or(0.0, |(_, keep)| keep);
    let average = |i: &usize| all[*i].average.map_or(all[*i].p, |(e, _)| e);
    match &means {
        Some(means) => {
            let rows: Vec<_> =
                with.iter().map(|i| [all[*i].p, all[*i].g, &squares[*i], &means[*i], average(i)]).collect();
            for (i, [p, v, m, e]) in with.iter().zip(map_each(&Averaged(WithMean(f), keep), &rows)?) {
                done(*i, p, v, Some(m), Some(e));
            }
            let rows: Vec<_> =
                without.iter().map(|i| [all[*i].p, all[*i].g, &squares[*i], &means[*i]]).collect();
            for (i, [p, v, m]) in without.iter().zip(map_each(&WithMean(f), &rows)?) {
                done(*i, p, v, Some(m), None);
            }
        }
        None => {
            let rows: Vec<_> =
                with.iter().map(|i| [all[*i].p, all[*i].g, &squares[*i], average(i)]).collect();
            for (i, [p, v, e]) in with.iter().zip(map_each(&Averaged(WithoutMean(f), keep), &rows)?) {
                done(*i, p, v, None, Some(e));
            }
            let rows: Vec<_> = without.iter().map(|i| [all[*i].p, all[*i].g, &squares[*i]]).collect();
            for (i, [p, v]) in without.iter().zip(map_each(&WithoutMean(f), &rows)?) {
                done(*i, p, v, None, None);
            }
        }
    }
    Ok((params, averages))
}

/// New value of the parameter `name`; the moments go to `next`.
pub(crate) fn tensor(
    name: &str,
    (p, g): (&Tensor, &Tensor),
    state: &OptimiserState,
    next: &mut OptimiserState,
    f: Factors,
) -> Result<Tensor> {
    let (first, second) = (format!("exp_avg.{name}"), format!("exp_avg_sq.{name}"));
    let m = (f.b1 > 0.0).then(|| moment(state, &first, p)).transpose()?;
    let (p, m, v) = update(p, g, m.as_ref(), &moment(state, &second, p)?, f)?;
    next.tensors.extend(m.map(|m| (first, m)));
    next.tensors.insert(second, v);
    Ok(p)
}

/// New parameter and moments; `m` is absent when β₁ = 0, where it would equal the gradient.
pub(crate) fn update(
    p: &Tensor,
    g: &Tensor,
    m: Option<&Tensor>,
    v: &Tensor,
    f: Factors,
) -> Result<(Tensor, Option<Tensor>, Tensor)> {
    Ok(match m {
        Some(m) => {
            let [p, v, m] = map_entries(&WithMean(f), [p, g, v, m])?;
            (p, Some(m), v)
        }
        None => {
            let [p, v] = map_entries(&WithoutMean(f), [p, g, v])?;
            (p, None, v)
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::Device;

    use super::*;

    #[test]
    fn loop_and_tensor_operations_agree() {
        let n = 12;
        let t = |s: f64| {
            let v: Vec<f32> = (0..n).map(|i| (f64::from(i) * s).sin() as f32).collect();
            Tensor::new(v, &Device::Cpu).unwrap()
        };
        let f = Factors::new([0.5, 0.9], 1e-8, 0.1, 0.01, 3);
        let (p, g, m, v) = (t(0.3), t(0.7), t(0.2), t(0.9).sqr().unwrap());
        let fast = update(&p, &g, Some(&m), &v, f).unwrap();
        // A transposed gradient is not contiguous, which forces the other way.
        let turn = |t: &Tensor| t.reshape((3, 4)).unwrap().t().unwrap();
        let slow = update(&turn(&p), &turn(&g), Some(&turn(&m)), &turn(&v), f).unwrap();
        let off = |a: &Tensor, b: &Tensor| {
            (turn(a) - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
        };
        // Roundings of single precision in another order, on numbers of size one.
        assert!(off(&fast.0, &slow.0) < 3e-7 && off(&fast.2, &slow.2) < 3e-7);
        assert!(off(&fast.1.unwrap(), &slow.1.unwrap()) < 3e-7);
    }
}
