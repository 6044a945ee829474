//! How well chains mix: effective sample sizes, split R-hat, autocorrelation times, acceptance.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use ebm_core::host;
use ebm_core::{Sampler, Stepped};
use ebm_data::npy::Npy;
use ebm_eval::{
    ChainAdvice, ChainFacts, ChainSummary, FEWEST_DRAWS, Traces, chain_advice, ess_mean, serialize_extended,
    summarise,
};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::model::draws::{Draws, Kept, ending};
use crate::model::moves::{MoveWatch, StepSizes, Trajectories};
use crate::model::open::{Model, Sampling};
use crate::tensors::equally_spaced;
use crate::whole_file::free;

/// Numbers of chains that are recorded at most: 1 GiB in f64.
pub const MOST_RECORDED: usize = 1 << 27;

/// Which chains are run, and what of them is recorded.
#[derive(Clone, Debug)]
pub struct ChainOptions {
    /// Chains.
    pub chains: usize,
    /// Steps that are recorded.
    pub steps: usize,
    /// Steps before, in which step sizes adapt; they are fixed from then on.
    pub warm_up: usize,
    /// Every how manieth step is recorded.
    pub thin: usize,
    /// Coordinates that are recorded at most, at equal distances.
    pub coordinates: usize,
    /// Seed; that of the run without it.
    pub seed: Option<u64>,
    /// Where the chains start, `(n, ...)` with at least as many rows as chains, in place of fresh starts: see
    /// [`starts`](crate::model::starts).
    pub start: Option<Tensor>,
    /// Where all coordinates of the draws go, with the statistics of their steps; `.npz`.
    pub draws: Option<PathBuf>,
    /// Whether that file is replaced if it is there.
    pub overwrite: bool,
}

impl Default for ChainOptions {
    fn default() -> Self {
        let (start, draws, overwrite) = (None, None, false);
        ChainOptions {
            chains: 4,
            steps: 1000,
            warm_up: 500,
            thin: 1,
            coordinates: 8,
            seed: None,
            start,
            draws,
            overwrite,
        }
    }
}

/// Diagnostics of chains, a row for each scalar.
#[derive(Clone, Debug, Serialize)]
pub struct ChainMeasures {
    /// The program, or the file.
    pub of: String,
    /// Chains.
    pub chains: usize,
    /// Draws of each that are measured.
    pub draws: usize,
    /// Steps before the first.
    pub warm_up: usize,
    /// Steps from one draw to the next.
    pub thin: usize,
    /// Share of the moves that were accepted, over all steps after the warm-up, if the program says so.
    pub accepted: Option<f64>,
    /// Moves after the warm-up that diverged, of how many, if the program says so.
    pub divergences: Option<(usize, usize)>,
    /// The step sizes that the warm-up found and all draws were made with, if they adapt.
    pub step_sizes: Option<StepSizes>,
    /// What trajectories of Hamiltonian dynamics that choose their length say of themselves.
    pub trajectories: Option<Trajectories>,
    /// A row for each scalar.
    pub rows: Vec<ChainRow>,
    /// What is wrong with them.
    pub advice: Vec<ChainAdvice>,
}

/// One scalar.
#[derive(Clone, Debug, Serialize)]
pub struct ChainRow {
    /// `energy`, or `x[i]` with the number of the coordinate in the flattened sample.
    pub name: String,
    /// Mean over all draws.
    pub mean: f64,
    /// Its Monte Carlo standard error.
    pub mcse: f64,
    /// Effective sample size of the rank-normalised draws.
    pub ess_bulk: f64,
    /// The smaller one of the 5 % and 95 % quantiles.
    pub ess_tail: f64,
    /// Rank-normalised split R-hat; "inf" for chains that stand still at different places.
    #[serde(serialize_with = "serialize_extended")]
    pub rhat: f64,
    /// Integrated autocorrelation time of the mean in draws: the number of all draws over their effective number.
    pub autocorrelation_time: f64,
}

/// Refuses a program of which only the last states are draws; `what` it is stands in the message.
///
/// # Errors
/// If it passes through other temperatures or levels.
pub fn draws_all_along(sampler: &dyn Sampler, what: &str) -> Result<()> {
    match sampler.cools() || sampler.walks_levels() {
        false => Ok(()),
        true => Err(Error::unfit(
            format!("{what} ({})", sampler.name()),
            "passes through other temperatures or levels, and only its last states are draws: run a program that stays at one as chains, \
             such as `chain`, or draw samples of this one",
        )),
    }
}

/// Runs the generation program of `model` as chains and measures the energy and coordinates after each step.
///
/// A program whose steps change on the way (annealed step sizes) is no chain: what it says of a stationary distribution holds
/// only for the part in which they do not.
///
/// # Errors
/// If an option is out of range, the program passes through other temperatures or levels, does not show each of its steps, or a value is not finite.
pub fn measure_chains(model: &Model, options: &ChainOptions) -> Result<ChainMeasures> {
    let o = options;
    let draws = o.steps / o.thin.max(1);
    for (setting, found) in [("chains", o.chains), ("thin", o.thin)] {
        if found == 0 {
            return Err(Error::invalid(setting, found, "at least 1"));
        }
    }
    if draws < FEWEST_DRAWS {
        let wanted = format!("as many as make at least {FEWEST_DRAWS} draws, found {draws} draws");
        return Err(Error::invalid("steps", o.steps, wanted));
    }
    draws_all_along(model.sampler(), "the generation program")?;
    let width: usize = model.sample_shape().iter().product();
    let picked: Vec<usize> = equally_spaced(width, o.coordinates).collect();
    let numbers_kept = (picked.len() + 1).checked_mul(o.chains).and_then(|n| n.checked_mul(draws));
    let all_steps = o.warm_up.checked_add(draws * o.thin);
    let (Some(_), Some(all_steps)) = (numbers_kept.filter(|n| *n <= MOST_RECORDED), all_steps) else {
        return Err(Error::invalid(
            "steps",
            o.steps,
            format!(
                "fewer steps, chains or coordinates, or one step in more: at most {MOST_RECORDED} numbers are recorded"
            ),
        ));
    };
    let mut record =
        Record { draws, rows: vec![vec![f64::NAN; o.chains * draws]; picked.len() + 1], seen: 0 };
    let energy = model.energy();
    let mut recorder = |index: usize, step: &Stepped| -> ebm_core::Result<()> {
        let Some(after) = index.checked_sub(o.warm_up) else { return Ok(()) };
        // A draw is the state after the last of `thin` steps.
        if (after + 1) % o.thin != 0 {
            return Ok(());
        }
        let at = &step.state.at;
        let e = host::wide(&energy.energy(at)?)?.to_vec1::<f64>()?;
        let x = host::wide(&at.x.flatten_from(1)?)?.to_vec2::<f64>()?;
        for ((id, e), x) in at.chains.ids().iter().zip(e).zip(x) {
            record.put(*id as usize, after / o.thin, e, picked.iter().map(|i| x[*i]));
        }
        Ok(())
    };
    let mut file = None;
    if let Some(path) = &o.draws {
        ending("draws", path, "npz")?;
        free("draws", path, o.overwrite)?;
        file = Some(Draws::new(energy.as_ref(), model.dtype(), (o.chains, draws), (o.warm_up, o.thin))?);
    }
    let mut kept = Kept::beside(&mut recorder, file);
    let mut watch = MoveWatch::beside(&mut kept);
    let sampling = Sampling {
        steps: Some(all_steps),
        warm_up: Some(o.warm_up),
        seed: o.seed,
        start: o.start.as_ref(),
        ..Sampling::default()
    };
    model.sample_watched(o.chains, sampling, &mut watch)?;
    let (accepted, divergences, step_sizes) = (watch.accepted(), watch.divergences(), watch.step_sizes());
    let (carried, trajectories) = (watch.carried(), watch.trajectories());
    let file = kept.draws();
    if record.seen != o.chains * draws {
        return Err(Error::unfit(
            "the generation program",
            format!(
                "showed {} of {} states, wanted a program of single steps, such as `chain`",
                record.seen,
                o.chains * draws
            ),
        ));
    }
    let names = std::iter::once("energy".to_string()).chain(picked.iter().map(|i| format!("x[{i}]")));
    let facts = ChainFacts {
        accepted: &accepted,
        divergences,
        step_sizes: carried,
        at_limit: step_sizes.map(|s| (s.at_limit, s.chains, s.mean)),
        deepest: trajectories.map(|t| (t.cut, t.count)),
        energy_information: trajectories.and_then(|t| t.energy_information),
        ..ChainFacts::default()
    };
    let (rows, advice) = rows(names, &record.rows, (o.chains, draws), facts)?;
    if let (Some(file), Some(path)) = (file, &o.draws) {
        file.write(path)?;
    }
    Ok(ChainMeasures {
        of: model.sampler().with_steps(all_steps).name(),
        chains: o.chains,
        draws,
        warm_up: o.warm_up,
        thin: o.thin,
        accepted: (!accepted.is_empty()).then(|| accepted.iter().sum::<f64>() / accepted.len() as f64),
        divergences,
        step_sizes,
        trajectories,
        rows,
        advice,
    })
}

struct Record {
    draws: usize,
    /// `(chains, draws)` of each scalar.
    rows: Vec<Vec<f64>>,
    seen: usize,
}

impl Record {
    fn put(&mut self, chain: usize, draw: usize, energy: f64, coordinates: impl Iterator<Item = f64>) {
        let at = chain * self.draws + draw;
        if draw >= self.draws || at >= self.rows[0].len() {
            return;
        }
        self.seen += 1;
        for (row, v) in self.rows.iter_mut().zip(std::iter::once(energy).chain(coordinates)) {
            row[at] = v;
        }
    }
}

/// A row for each scalar of `m` chains of `n` draws, and what is wrong with them all, by these and the `known` facts.
fn rows(
    names: impl Iterator<Item = String>,
    all: &[Vec<f64>],
    (m, n): (usize, usize),
    known: ChainFacts<'_>,
) -> Result<(Vec<ChainRow>, Vec<ChainAdvice>)> {
    let (mut rows, mut summaries): (Vec<ChainRow>, Vec<ChainSummary>) = Default::default();
    for (name, values) in names.zip(all) {
        let chains = Traces::new(values, m, n)?;
        let s = summarise(chains);
        rows.push(ChainRow {
            name,
            mean: s.mean,
            mcse: s.mcse,
            ess_bulk: s.ess_bulk,
            ess_tail: s.ess_tail,
            rhat: s.rhat,
            autocorrelation_time: (m * n) as f64 / ess_mean(chains),
        });
        summaries.push(s);
    }
    let advice = chain_advice(&ChainFacts { chains: m, draws: n, summaries: &summaries, ..known });
    Ok((rows, advice))
}

/// Measures chains that are there: an `.npy` array `(chains, draws)` or `(chains, draws, ...)`, of which at most
/// `coordinates` are measured, at equal distances.
///
/// # Errors
/// If the file cannot be read, has another shape, too few draws or values that are not finite.
pub fn measure_chain_file(path: &Path, coordinates: usize) -> Result<ChainMeasures> {
    let npy = Npy::read(path)?;
    let dims = npy.dims().to_vec();
    let (m, n, width) = match dims[..] {
        [m, n] => (m, n, 1),
        [m, n, ref rest @ ..] => (m, n, rest.iter().product::<usize>()),
        _ => {
            let message = format!("found shape {dims:?}, wanted (chains, draws) or (chains, draws, ...)");
            return Err(ebm_core::Error::data(path, message).into());
        }
    };
    let values = npy.values().clone().into_f64();
    let picked: Vec<usize> = equally_spaced(width, coordinates).collect();
    if picked.is_empty() {
        return Err(Error::unfit(path.display(), "found no coordinate to measure"));
    }
    let all: Vec<Vec<f64>> =
        picked.iter().map(|i| (0..m * n).map(|at| values[at * width + i]).collect()).collect();
    let names = picked.iter().map(|i| if dims.len() == 2 { "x".to_string() } else { format!("x[{i}]") });
    let (rows, advice) = rows(names, &all, (m, n), ChainFacts::default()).map_err(|e| match e {
        Error::Eval(e) => ebm_core::Error::data(path, e.to_string()).into(),
        other => other,
    })?;
    Ok(ChainMeasures {
        of: path.display().to_string(),
        chains: m,
        draws: n,
        warm_up: 0,
        thin: 1,
        accepted: None,
        divergences: None,
        step_sizes: None,
        trajectories: None,
        rows,
        advice,
    })
}
