//! What histograms look at: energies, slopes and values of data and samples.

use ebm_core::candle::{DType, Tensor};
use ebm_core::{Batch, Condition, Error, Look, Result, RunView, Settings};
use serde::{Deserialize, Serialize};

/// Rows that pass through the energy at a time: a histogram must not need more memory than a step.
const PIECE: usize = 64;

/// Which samples a histogram looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Settings)]
pub enum Of {
    /// Chains of the replay buffer, which cost nothing; fresh samples where a run has no buffer or an energy
    /// cannot be without a condition.
    #[default]
    Buffer,
    /// Samples drawn from fresh starts with averaged weights; costs a generation.
    Samples,
}

impl Of {
    /// The looks at the buffer of who shows histograms of `rows` samples every so many steps.
    pub(crate) fn looks(self, every: u64, rows: usize) -> Vec<Look> {
        if self == Of::Buffer { vec![Look { every, rows }] } else { Vec::new() }
    }
}

/// Numbers of one kind.
pub(crate) struct Seen {
    /// `energy.data`, `energy.samples`, `slope.data` (‖∇ₓE‖ of a sample) and so on, `values.samples`.
    pub name: &'static str,
    /// The numbers.
    pub values: Vec<f32>,
}

/// Energies (live weights) and norms of their slopes of up to `n` training samples and `n` samples, and all
/// values of both. Training samples are missing where a source has none to show.
pub(crate) fn look(view: &dyn RunView, n: usize, of: Of) -> Result<Vec<Seen>> {
    // A condition belongs to its sample: only the first batch and the samples drawn for it have theirs.
    let conditioned = view.energy().spec().condition != Condition::None;
    let drawn = if conditioned { view.drawn(n)? } else { None };
    let drawn = drawn.filter(|b| b.cond.is_some());
    let cond = drawn.as_ref().and_then(|b| b.cond.clone());
    let n = drawn.as_ref().map_or(n, Batch::len);
    let held = if of == Of::Buffer && cond.is_none() { view.buffered(n)? } else { None };
    let samples = match held {
        Some(x) => x,
        None => view.samples(n)?,
    };
    let data = match drawn {
        Some(batch) => Some(batch.x),
        None => view.data(n)?,
    };
    let mut all = Vec::new();
    if let Some(x) = data {
        let x = x.to_device(samples.device())?.to_dtype(samples.dtype())?;
        series(view, x, cond.clone(), ["energy.data", "slope.data", "values.data"], &mut all)?;
    }
    series(view, samples, cond, ["energy.samples", "slope.samples", "values.samples"], &mut all)?;
    Ok(all)
}

fn series(
    view: &dyn RunView,
    x: Tensor,
    cond: Option<Tensor>,
    names: [&'static str; 3],
    all: &mut Vec<Seen>,
) -> Result<()> {
    let n = x.dim(0)?;
    let (mut energies, mut slopes) = (Vec::new(), Vec::new());
    for first in (0..n).step_by(PIECE) {
        let rows = PIECE.min(n - first);
        let cond = cond.as_ref().map(|c| c.narrow(0, first, rows)?.to_device(x.device())).transpose()?;
        let at = Batch::new(x.narrow(0, first, rows)?.contiguous()?)?.with_cond(cond);
        let slope = view.energy().slope(&at)?;
        energies.extend(flat(&slope.energy)?);
        slopes.extend(flat(&slope.grad.flatten_from(1)?.sqr()?.sum(1)?.sqrt()?)?);
    }
    let values = [energies, slopes, flat(&x)?];
    all.extend(names.into_iter().zip(values).map(|(name, values)| Seen { name, values }));
    Ok(())
}

fn flat(t: &Tensor) -> Result<Vec<f32>> {
    t.to_dtype(DType::F32).and_then(|t| t.flatten_all()?.to_vec1()).map_err(Error::from)
}

/// Numbers of values in equal bins between the smallest and the largest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bins {
    /// Smallest value.
    pub low: f64,
    /// Largest value.
    pub high: f64,
    /// Sum of the values.
    pub sum: f64,
    /// Sum of their squares.
    pub squares: f64,
    /// Values in each bin; a bin has its lower edge, the last one both. One bin if all values are equal.
    pub counts: Vec<u64>,
}

impl Bins {
    /// The histogram of the finite among `values`, in `bins` bins; `None` if there are none.
    pub fn of(values: &[f32], bins: usize) -> Option<Self> {
        let finite = || values.iter().filter(|v| v.is_finite()).map(|v| f64::from(*v));
        let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return None;
        }
        let bins = if low == high { 1 } else { bins.max(1) };
        let mut all = Bins { low, high, sum: 0.0, squares: 0.0, counts: vec![0; bins] };
        for v in finite() {
            all.sum += v;
            all.squares += v * v;
            let at = ((v - low) / (high - low) * bins as f64) as usize;
            all.counts[at.min(bins - 1)] += 1;
        }
        Some(all)
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Lower and upper edge of bin `i`.
    pub fn edges(&self, i: usize) -> (f64, f64) {
        let at = |i: usize| self.low + (self.high - self.low) * i as f64 / self.counts.len() as f64;
        (at(i), if i + 1 == self.counts.len() { self.high } else { at(i + 1) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fake_tests as fake;

    #[test]
    fn values_fall_into_their_bins() {
        let bins = Bins::of(&[0.0, 1.0, f32::NAN, 2.0, 4.0, f32::INFINITY, 4.0], 4).unwrap();
        assert_eq!(bins.counts, [1, 1, 1, 2]);
        assert_eq!((bins.low, bins.high, bins.sum, bins.squares, bins.count()), (0.0, 4.0, 11.0, 37.0, 5));
        assert_eq!((bins.edges(1), bins.edges(3)), ((1.0, 2.0), (3.0, 4.0)));
        assert_eq!(Bins::of(&[2.5; 3], 4).unwrap().counts, [3]);
        assert_eq!(Bins::of(&[f32::NAN], 4), None);
    }

    #[test]
    fn energies_and_slopes_are_those_of_the_samples() {
        // The energy is ‖x‖², so the norm of its slope is 2 ‖x‖; 100 rows pass in two pieces.
        let run = fake::Run::new(&[1, 4, 4]);
        let seen = look(&run, 100, Of::Samples).unwrap();
        let of = |name: &str| &seen.iter().find(|s| s.name == name).unwrap().values;
        assert_eq!(of("energy.data").len(), 100);
        assert_eq!(of("values.samples").len(), 1600);
        let (e, s, x) = (of("energy.samples"), of("slope.samples"), of("values.samples"));
        for i in [0, 63, 64, 99] {
            let square: f32 = x[16 * i..16 * (i + 1)].iter().map(|v| v * v).sum();
            // Sums of 16 numbers in f32: relative error below 16 · 2⁻²⁴.
            assert!(
                (e[i] - square).abs() < 1e-5 * square && (s[i] - 2.0 * square.sqrt()).abs() < 1e-5 * square
            );
        }
        // The buffer of this run holds three.
        let held = look(&run, 100, Of::Buffer).unwrap();
        assert_eq!(held.iter().find(|s| s.name == "energy.samples").unwrap().values.len(), 3);
    }
}
