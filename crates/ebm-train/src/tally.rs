//! The numbers of a step's report, in a form that shards and ranks can add.

use std::collections::BTreeMap;

use ebm_core::candle::Tensor;
use ebm_core::{Drawn, Error, Result, TermName};

use crate::fulfil::Fulfilled;
use crate::numbers::spread;

/// Count, mean and sum of squares about the mean.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread(f64, f64, f64);

impl Spread {
    fn of(t: &Tensor) -> Result<Self> {
        spread(t).map(|(n, mean, squares)| Spread(n, mean, squares))
    }

    fn sd(self) -> f64 {
        (self.2 / (self.0 - 1.0).max(1.0)).sqrt()
    }

    /// Count, sum, and sum of squares: what can be added.
    fn sums(self) -> [f64; 3] {
        [self.0, self.0 * self.1, self.2 + self.0 * self.1 * self.1]
    }

    fn from_sums([n, sum, squares]: [f64; 3]) -> Self {
        let mean = sum / n.max(1.0);
        Spread(n, mean, (squares - n * mean * mean).max(0.0))
    }
}

/// Parts of the loss, and spreads of energies and diagnostics.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    losses: BTreeMap<String, f64>,
    spreads: BTreeMap<String, Spread>,
}

impl Tally {
    /// What the passes of a shard showed.
    pub fn of(done: &Fulfilled, drawn: Option<&Drawn>, known: &BTreeMap<TermName, f64>) -> Result<Self> {
        let mut tally = Tally::default();
        for (rows, terms) in &done.terms {
            tally.spreads.insert(format!("energy.{rows}"), Spread::of(&terms.sum(1)?)?);
        }
        for (label, value) in known.iter().chain(&done.values) {
            *tally.losses.entry(format!("loss.{label}")).or_insert(0.0) += value;
        }
        for (name, t) in drawn.iter().flat_map(|d| &d.info).filter(|(name, _)| **name != "energy") {
            tally.spreads.insert(format!("sampler.{name}"), Spread::of(t)?);
        }
        Ok(tally)
    }

    /// All names, for a check that all ranks have the same.
    pub fn names(&self) -> String {
        self.losses.keys().chain(self.spreads.keys()).map(|name| format!("{name};")).collect()
    }

    /// All numbers in a form that can be added.
    pub fn numbers(&self) -> Vec<f64> {
        let spreads = self.spreads.values().flat_map(|s| s.sums());
        self.losses.values().copied().chain(spreads).collect()
    }

    /// The tally of added numbers under the names of this one.
    ///
    /// # Errors
    /// If there are other numbers than names.
    pub fn with_numbers(&self, numbers: &[f64]) -> Result<Self> {
        if numbers.len() != self.losses.len() + 3 * self.spreads.len() {
            return Err(Error::plugin("ranks", "ranks and shards report different quantities"));
        }
        let (losses, spreads) = numbers.split_at(self.losses.len());
        Ok(Tally {
            losses: self.losses.keys().cloned().zip(losses.iter().copied()).collect(),
            spreads: (self.spreads.keys().cloned())
                .zip(spreads.chunks_exact(3).map(|c| Spread::from_sums([c[0], c[1], c[2]])))
                .collect(),
        })
    }

    /// The numbers of the report; losses are sums of so many means.
    pub fn report(&self, means: usize) -> BTreeMap<String, f64> {
        let scale = 1.0 / means as f64;
        let mut values: BTreeMap<String, f64> =
            self.losses.iter().map(|(name, v)| (name.clone(), scale * v)).collect();
        for (name, s) in &self.spreads {
            match name.as_str() {
                "sampler.grad_square" => {
                    values.insert("sampler.grad_rms".into(), s.1.sqrt());
                }
                name => {
                    values.insert(name.to_string(), s.1);
                    if name.starts_with("energy.") {
                        values.insert(format!("{name}.sd"), s.sd());
                    }
                }
            }
        }
        if let (Some(data), Some(samples)) = (values.get("energy.data"), values.get("energy.samples")) {
            values.insert("energy.difference".into(), data - samples);
        }
        values
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn added_spreads_are_those_of_all_numbers() {
        let all = [1.0f64, 2.5, -3.0, 7.0, 0.25];
        let t = |v: &[f64]| Tensor::new(v, &ebm_core::candle::Device::Cpu).unwrap();
        let (a, b, whole) = (
            Spread::of(&t(&all[..2])).unwrap(),
            Spread::of(&t(&all[2..])).unwrap(),
            Spread::of(&t(&all)).unwrap(),
        );
        let (a, b) = (a.sums(), b.sums());
        let both = Spread::from_sums([a[0] + b[0], a[1] + b[1], a[2] + b[2]]);
        // A few additions of numbers of order ten in f64.
        assert!((both.1 - whole.1).abs() < 1e-14 && (both.sd() - whole.sd()).abs() < 1e-13);
        assert_eq!(both.0, 5.0);
    }
}
