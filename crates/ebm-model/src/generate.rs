//! Draws samples from fresh starts, a piece at a time.

use std::collections::BTreeMap;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::host;
use ebm_core::{
    Batch, Blind, Chains, DrawRequest, EnergyFn, Error, Key, Probe, Result, Sampler, Stop, Stoppable, finite,
};

use crate::starts::Starts;

/// What helps where no weight moves: the chains ran away, or the energy has no number where they are.
const CURE: &str = "use a smaller step size of the sampler that draws them (no step of ula or langevin is ever rejected), or look at the energy there";

/// Draws samples of one energy. Chains are numbered through all pieces, so the result does not
/// depend on the size of a piece.
pub struct Generator<'a> {
    /// The energy.
    pub energy: &'a dyn EnergyFn,
    /// The program.
    pub sampler: &'a dyn Sampler,
    /// Makes fresh starts.
    pub starts: &'a Starts,
    /// What the sampler learnt in training (adapted step sizes).
    pub memory: BTreeMap<String, Tensor>,
    /// Where the chains start, `(n, ...)`, in place of fresh starts.
    pub begin: Option<Tensor>,
    /// Training samples `(m, ...)` for transitions that look at some.
    pub reference: Option<Tensor>,
    /// Largest number of rows at a time.
    pub batch: usize,
    /// How many of the first steps adapt step sizes, which are fixed from then on: samples of a kernel that goes on adapting
    /// are not of the energy's law. Without a number they go on, as in the programs that wrote checkpoints of format 1.
    pub warm_up: Option<usize>,
    /// Gives the samples up when it is set.
    pub stop: Stop,
}

impl Generator<'_> {
    /// The same, which gives its samples up once somebody wishes to stop.
    #[must_use]
    pub fn stopped_by(self, stop: &Stop) -> Self {
        Generator { stop: stop.clone(), ..self }
    }

    /// `n` samples `(n, ...)` under the conditions `cond` (`(m, c)` used in turn, or none).
    ///
    /// # Errors
    /// If a start or the program fails, there are fewer starts than samples, or a sample is not finite.
    pub fn draw(&self, n: usize, cond: Option<&Tensor>, key: Key) -> Result<Tensor> {
        self.draw_watched(n, cond, key, &mut Blind)
    }

    /// As [`Generator::draw`]; `probe` sees every step of every piece.
    ///
    /// # Errors
    /// As [`Generator::draw`], and if the probe fails.
    pub fn draw_watched(
        &self,
        n: usize,
        cond: Option<&Tensor>,
        key: Key,
        probe: &mut dyn Probe,
    ) -> Result<Tensor> {
        let energy = Stoppable::new(self.energy, &self.stop);
        let mut pieces = Vec::new();
        let mut first = 0;
        while first < n {
            let rows = (n - first).min(self.batch.max(1));
            let chains = Chains::range(first as u64, rows);
            let cond = cond.map(|c| rows_in_turn(c, first, rows)).transpose()?;
            let x = match &self.begin {
                Some(begin) => begin.narrow(0, first, rows)?.contiguous()?,
                None => self.starts.fresh(&energy, &chains, cond.as_ref(), key.at("start"))?,
            };
            let at = Batch::new(x)?.with_chains(chains).with_cond(cond);
            let mut memory = self.memory.clone();
            let mut request = DrawRequest::new(probe, &mut memory).with_reference(self.reference.as_ref());
            request.warm_up = self.warm_up;
            let drawn = self.sampler.draw(&energy, at, key.at("sampler"), &mut request)?;
            finite("generated samples", &drawn.last.at.x, 0, CURE)?;
            pieces.push(drawn.last.at.x);
            first += rows;
        }
        match &pieces[..] {
            [] => Err(Error::config("generate.count", "is 0, must be at least 1")),
            [one] => Ok(one.clone()),
            many => Ok(Tensor::cat(many, 0)?),
        }
    }
}

/// Rows `first .. first + rows` of `cond`, beginning again at its end.
fn rows_in_turn(cond: &Tensor, first: usize, rows: usize) -> Result<Tensor> {
    let m = cond.dim(0)?.max(1);
    let index: Vec<u32> = (first..first + rows).map(|i| (i % m) as u32).collect();
    Ok(cond.index_select(&Tensor::new(index, cond.device())?, 0)?)
}

/// One condition for all samples, `(1, n)`.
///
/// # Errors
/// If the tensor cannot be made.
pub fn one_condition(values: &[f64], dtype: DType, device: &Device) -> Result<Tensor> {
    Ok(host::given(values, dtype, device)?.unsqueeze(0)?)
}
