//! The numbers of a step's report, in a form that shards and ranks can add.

use std::collections::BTreeMap;

use ebm_core::candle::Tensor;
use ebm_core::{Drawn, Error, Result, TermName, host, row_mean};
use ebm_health::overlap;

use crate::step::fulfil::Fulfilled;

/// Count, mean and sum of squares about the mean.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread(f64, f64, f64);

impl Spread {
    fn of(t: &Tensor) -> Result<Self> {
        Ok(Self::of_numbers(&host::numbers(t)?))
    }

    fn of_numbers(v: &[f64]) -> Self {
        let mean = v.iter().sum::<f64>() / v.len().max(1) as f64;
        Spread(v.len() as f64, mean, v.iter().map(|x| (x - mean).powi(2)).sum())
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

/// Name of the overlap of the energies of data and samples.
const OVERLAP: &str = "energy.overlap";

/// Distance from the middle of the data's range, in halves of its width, beyond which there are no data.
const BEYOND: f64 = 2.0;

/// Parts of the loss, and spreads of energies and diagnostics.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    /// And numbers beside it that add up likewise.
    losses: BTreeMap<String, f64>,
    spreads: BTreeMap<String, Spread>,
    /// Energies of the data and of the samples of the whole batch, 0 in rows that are elsewhere; where an objective has both
    /// for every row.
    energies: Option<[Vec<f64>; 2]>,
}

/// Where the rows of a tally stand.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    /// Rows of the batch before them.
    pub first: usize,
    /// Rows here.
    pub here: usize,
    /// Rows of the whole batch.
    pub of: usize,
}

impl Tally {
    /// What the passes of some rows showed; `drawn` with where its chains started, `range` is the middle and the half width of
    /// the data's values.
    pub fn of(
        done: &Fulfilled,
        drawn: Option<(&Drawn, &Tensor)>,
        known: &BTreeMap<TermName, f64>,
        range: Option<(f64, f64)>,
        rows: Rows,
    ) -> Result<Self> {
        let mut tally = Tally::default();
        let mut energies: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (name, terms) in &done.terms {
            let all = host::numbers(&terms.sum(1)?)?;
            tally.spreads.insert(format!("energy.{name}"), Spread::of_numbers(&all));
            energies.insert(name, all);
        }
        if let (Some(data), Some(samples)) = (energies.remove("data"), energies.remove("samples"))
            && data.len() == rows.here
            && samples.len() == rows.here
        {
            tally.energies = Some([data, samples].map(|own| {
                let mut whole = vec![0.0; rows.of];
                whole[rows.first..rows.first + rows.here].copy_from_slice(&own);
                whole
            }));
        }
        if let (Some((drawn, start)), Some((middle, half))) = (drawn, range) {
            let x = &drawn.last.at.x;
            let out = x.affine(1.0 / half, -middle / half)?.abs()?;
            let beyond = out.gt(BEYOND)?.to_dtype(out.dtype())?;
            let moved = ((x - start)? / half)?.abs()?;
            // One read of all three.
            let rows = Tensor::stack(&[row_mean(&out)?, row_mean(&beyond)?, row_mean(&moved)?], 0)?;
            let all = host::numbers(&rows)?;
            let names = ["samples.reach", "samples.beyond", "samples.moved"];
            for (name, rows) in names.into_iter().zip(all.chunks_exact(x.dim(0)?)) {
                tally.spreads.insert(name.into(), Spread::of_numbers(rows));
            }
        }
        for (label, value) in known.iter().chain(&done.values) {
            *tally.losses.entry(format!("loss.{label}")).or_insert(0.0) += value;
        }
        for (name, value) in &done.measures {
            *tally.losses.entry(name.clone()).or_insert(0.0) += value;
        }
        for (name, t) in drawn.iter().flat_map(|(d, _)| &d.info).filter(|(name, _)| **name != "energy") {
            tally.spreads.insert(format!("sampler.{name}"), Spread::of(t)?);
        }
        Ok(tally)
    }

    /// Takes the step sizes that the sampler has adapted so far, if it keeps any.
    pub fn adapted(&mut self, memory: &BTreeMap<String, Tensor>) -> Result<()> {
        let mut all = Vec::new();
        for (_, t) in memory.iter().filter(|(name, _)| name.ends_with("step_size")) {
            all.extend(host::numbers(t)?);
        }
        if !all.is_empty() {
            self.spreads.insert("sampler.step_size".into(), Spread::of_numbers(&all));
        }
        Ok(())
    }

    /// All names, for a check that all ranks have the same.
    pub fn names(&self) -> String {
        let both = self.energies.as_ref().map_or(String::new(), |e| format!("{OVERLAP} of {};", e[0].len()));
        self.losses.keys().chain(self.spreads.keys()).map(|name| format!("{name};")).collect::<String>()
            + &both
    }

    /// All numbers in a form that can be added.
    pub fn numbers(&self) -> Vec<f64> {
        let spreads = self.spreads.values().flat_map(|s| s.sums());
        let energies = self.energies.iter().flatten().flatten().copied();
        self.losses.values().copied().chain(spreads).chain(energies).collect()
    }

    /// The tally of added numbers under the names of this one.
    ///
    /// # Errors
    /// If there are other numbers than names.
    pub fn with_numbers(&self, numbers: &[f64]) -> Result<Self> {
        let rows = self.energies.as_ref().map_or(0, |e| e[0].len());
        if numbers.len() != self.losses.len() + 3 * self.spreads.len() + 2 * rows {
            return Err(Error::plugin("ranks", "ranks and shards report different quantities"));
        }
        let (losses, rest) = numbers.split_at(self.losses.len());
        let (spreads, energies) = rest.split_at(3 * self.spreads.len());
        let (data, samples) = energies.split_at(rows);
        Ok(Tally {
            losses: self.losses.keys().cloned().zip(losses.iter().copied()).collect(),
            spreads: (self.spreads.keys().cloned())
                .zip(spreads.chunks_exact(3).map(|c| Spread::from_sums([c[0], c[1], c[2]])))
                .collect(),
            energies: self.energies.as_ref().map(|_| [data.to_vec(), samples.to_vec()]),
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
        if let Some(overlap) = self.energies.as_ref().and_then(|[data, samples]| overlap(samples, data)) {
            values.insert(OVERLAP.into(), overlap);
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
    fn the_spread_of_numbers() {
        assert_eq!(Spread::of_numbers(&[1.0, 2.0, 3.0, 6.0]), Spread(4.0, 3.0, 14.0));
    }

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
