//! How far a term acts through the sampler: over how many steps, on how many samples.

use ebm_core::candle::Tensor;
use ebm_core::{Batch, Demands, Drawn, EnergyFn, Needs, Result, StepInput, TermName};

/// The last `trail` steps (0: all) of the first `rows` samples (0: all).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    pub trail: usize,
    pub rows: usize,
}

/// The samples of a portion that a term acts on.
pub(crate) struct Reached {
    /// Where they ended.
    pub end: Batch,
    /// Number of them in the whole batch.
    pub whole: usize,
}

impl Reach {
    fn links(self) -> usize {
        if self.trail == 0 { usize::MAX } else { self.trail }
    }

    pub fn needs(self) -> Needs {
        Needs::none().with_trail(self.links(), (self.rows > 0).then_some(self.rows))
    }

    /// The samples of `drawn` that count; `None` if none of them is in this portion.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn samples(self, input: &StepInput<'_>, drawn: &Drawn) -> Result<Option<Reached>> {
        let portion = input.portion_of(&drawn.last.at);
        let whole = if self.rows == 0 { portion.of } else { self.rows.min(portion.of) }.max(1);
        let here = portion.leading(whole, drawn.last.at.len());
        (here > 0).then(|| Ok(Reached { end: drawn.last.at.narrow(0, here)?, whole })).transpose()
    }

    /// Demands the gradient of what has the slope `u` in the samples, as a function of the parameters through the
    /// sampler. Others may have asked for a longer trail.
    ///
    /// # Errors
    /// If the energy fails.
    pub fn pull_back(
        self,
        e: &dyn EnergyFn,
        input: &StepInput<'_>,
        drawn: &Drawn,
        u: &Tensor,
        label: &TermName,
        demands: &mut Demands,
    ) -> Result<()> {
        // There may be none by chance, where no chain drew a step with a gradient.
        for d in drawn.trail.last(self.links()).pull_back(input.chains.unwrap_or(e), u)? {
            demands.slope(label.clone(), d.at, d.v, 0.0);
        }
        Ok(())
    }
}
