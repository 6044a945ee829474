//! A twin that leaves rows with infinite or all but infinite entries to the graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use ebm_core::plan::NetPlan;
use ebm_core::{
    Batch, Density, EnergyFn, EnergySpec, Key, ParamSet, Result, RowProgram, Slope, ThetaGrad, Walked,
    WeightFn,
};

use crate::twin::with_floats;

/// Largest size of an entry that an engine takes. The transforms of convolutions subtract sums of entries, and padded channels are
/// products with 0: of an infinity, or of what overflows on the way, both make NaN where the graph has a number.
const LARGEST: f32 = 1e30;

/// The twin for samples of ordinary size, NaN included; the energy it was made from for the others, row by row.
pub(crate) struct InRange {
    graph: Arc<dyn EnergyFn>,
    twin: Arc<dyn EnergyFn>,
}

/// The rows of a batch that the twin takes, those of the graph, and the place of each row of the batch among both.
struct Shares {
    ours: Batch,
    theirs: Batch,
    of: [Vec<u32>; 2],
    place: Vec<u32>,
}

impl Shares {
    /// The results of both, in the order of the batch.
    fn joined(&self, ours: &Tensor, theirs: &Tensor) -> Result<Tensor> {
        let place = Tensor::from_slice(&self.place, self.place.len(), ours.device())?;
        Ok(Tensor::cat(&[ours, theirs], 0)?.index_select(&place, 0)?)
    }

    /// The rows of `t` that each takes.
    fn split(&self, t: &Tensor) -> Result<[Tensor; 2]> {
        let pick = |rows: &[u32]| -> Result<Tensor> {
            Ok(t.index_select(&Tensor::from_slice(rows, rows.len(), t.device())?, 0)?)
        };
        Ok([pick(&self.of[0])?, pick(&self.of[1])?])
    }
}

/// Marks the rows of which an entry is beyond what the engine takes. NaN is not: the engines keep it.
fn mark_beyond(all: &[f32], rows: &mut [bool]) {
    // Without a way out of the loop it runs in vectors.
    if all.iter().fold(0f32, |most, v| most.max(v.abs())) <= LARGEST {
        return;
    }
    let each = all.len() / rows.len().max(1);
    for (row, beyond) in all.chunks(each.max(1)).zip(rows) {
        *beyond |= row.iter().any(|v| v.abs() > LARGEST);
    }
}

impl InRange {
    pub fn new(graph: Arc<dyn EnergyFn>, twin: Arc<dyn EnergyFn>) -> Self {
        InRange { graph, twin }
    }

    /// `None` if the twin takes all rows, which is all but always: their samples, conditions and, if there are, directions `v`.
    fn shares(&self, at: &Batch, v: Option<&Tensor>) -> Result<Option<Shares>> {
        if at.dtype() != DType::F32 || !at.device().is_cpu() || at.is_empty() {
            return Ok(None);
        }
        let mut rows = vec![false; at.len()];
        for t in [Some(&at.x), at.cond.as_ref(), v].into_iter().flatten() {
            if t.dtype() == DType::F32 && t.device().is_cpu() && t.dims().first() == Some(&at.len()) {
                with_floats(t, |all| mark_beyond(all, &mut rows))?;
            }
        }
        if !rows.contains(&true) {
            return Ok(None);
        }
        let numbers = |theirs: bool| (0u32..).zip(&rows).filter(move |(_, t)| **t == theirs).map(|(i, _)| i);
        let of: [Vec<u32>; 2] = [numbers(false).collect(), numbers(true).collect()];
        let mut place = vec![0; rows.len()];
        (0u32..).zip(of.iter().flatten()).for_each(|(to, row)| place[*row as usize] = to);
        Ok(Some(Shares { ours: at.rows(&of[0])?, theirs: at.rows(&of[1])?, of, place }))
    }

    /// The sum of the gradients of both parts.
    fn summed(s: &Shares, ours: ThetaGrad, theirs: ThetaGrad) -> Result<ThetaGrad> {
        let mut all = ThetaGrad { terms: s.joined(&ours.terms, &theirs.terms)?, grads: ours.grads };
        all.accumulate(&theirs.grads, 1.0)?;
        Ok(all)
    }
}

impl EnergyFn for InRange {
    fn spec(&self) -> &EnergySpec {
        self.twin.spec()
    }

    fn params(&self) -> &ParamSet {
        self.twin.params()
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        match self.shares(at, None)? {
            None => self.twin.terms(at),
            Some(s) => s.joined(&self.twin.terms(&s.ours)?, &self.graph.terms(&s.theirs)?),
        }
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        let Some(s) = self.shares(at, None)? else { return self.twin.slope(at) };
        let (ours, theirs) = (self.twin.slope(&s.ours)?, self.graph.slope(&s.theirs)?);
        Ok(Slope {
            energy: s.joined(&ours.energy, &theirs.energy)?,
            grad: s.joined(&ours.grad, &theirs.grad)?,
        })
    }

    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        let Some(s) = self.shares(at, None)? else { return self.twin.grad_theta(at, w) };
        // The weights may depend on all terms of the batch, so the terms come first.
        let [ours, theirs] = s.split(&w.of(&self.terms(at)?)?)?;
        let ours = self.twin.grad_theta(&s.ours, &WeightFn::fixed(ours))?;
        Self::summed(&s, ours, self.graph.grad_theta(&s.theirs, &WeightFn::fixed(theirs))?)
    }

    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        let Some(s) = self.shares(at, Some(v))? else { return self.twin.grad_theta_slope(at, v) };
        let [ours, theirs] = s.split(v)?;
        let ours = self.twin.grad_theta_slope(&s.ours, &ours)?;
        Self::summed(&s, ours, self.graph.grad_theta_slope(&s.theirs, &theirs)?)
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        let Some(s) = self.shares(at, Some(v))? else { return self.twin.hvp(at, v) };
        let [ours, theirs] = s.split(v)?;
        s.joined(&self.twin.hvp(&s.ours, &ours)?, &self.graph.hvp(&s.theirs, &theirs)?)
    }

    fn plan(&self) -> Option<&NetPlan> {
        self.twin.plan()
    }

    fn outline(&self) -> Result<ebm_core::Outline> {
        self.graph.outline()
    }

    fn walk(&self, at: &Batch, program: &RowProgram, key: Key) -> Result<Option<Walked>> {
        match self.shares(at, None)? {
            None => self.twin.walk(at, program, key),
            // The plain loop, whose slopes come back here.
            Some(_) => self.graph.walk(at, program, key),
        }
    }

    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        self.twin.refreshed_buffers()
    }

    fn density(&self) -> Option<&dyn Density> {
        self.twin.density()
    }

    fn layers(&self, batch: usize) -> String {
        self.twin.layers(batch)
    }

    fn engine(&self) -> String {
        self.twin.engine()
    }
}
