//! The no-U-turn sampler: trajectories of Hamiltonian dynamics as long as they go on.

use ebm_core::{
    Adjust, Batch, BuildCx, ChainState, EnergyFn, Key, Law, Learning, Link, Result, Sensitivity, Settings,
    Slope, Stepped, Transition, TransitionConfig, host, plugin,
};

use crate::kit::factor::Way;
use crate::kit::places::{Places, gathered, numbers, one_a_row, row_slopes, shares};
use crate::kit::{AdaptSettings, Factor, MetricKind, StepSize, Tuning, lanes};

mod slots;
mod tree;

use tree::{Place, Pull, Tree};

/// One draw of multinomial NUTS (Hoffman, Gelman 2014; Betancourt 2017): leapfrog steps of `H = E/T + |v|²/2` from a fresh momentum, twice
/// as many each time, forwards or backwards in time, until the trajectory turns back; the new place is drawn from all of it by
/// `exp(−H)`. Leaves `exp(−E/T)` invariant for every step size and metric.
///
/// All chains go on together, each with its own tree: one batched slope for each leapfrog step, of the chains whose trees still grow. The
/// arithmetic of trees is on the processor in f64, in the samples' type are only the places where slopes are taken. Where an energy has
/// slopes of [rows](ebm_core::EnergyFn::rows) they are taken in f64 too, without tensors, and chains are spread over the threads of the process.
///
/// In a warm-up step size and metric are learnt as in Stan (windows that double in length, dual averaging), by default one of each for
/// all chains; with `per_chain` one for each, as Stan has it, which lets each chain stand for itself and takes longer to know as much.
///
/// Diagnostics: `energy` and `grad_square` at the new place, `accepted` (the mean chance of the places of the trajectory); in measures also
/// `divergent`, `at_limit`, `step_size`, `tree_depth`, `leapfrogs`, `cut` (1 if the trajectory was ended by its
/// greatest length) and `hamiltonian`, from which `ebm eval chains` makes E-BFMI.
///
/// The result depends on θ through the whole trajectory, which one link cannot tell: a KL term refuses this kernel.
///
/// ```
/// use ebm_core::candle::{DType, Device, Tensor};
/// use ebm_core::{Batch, Draws, Keep, Key};
/// use ebm_samplers::{Chain, Nuts};
///
/// let e = ebm_testkit::toy::bowl(3, 100.0)?; // deviation 0.1
/// let start = Batch::new(Tensor::ones((8, 3), DType::F64, &Device::Cpu)?)?;
/// let nuts = Chain::new(Box::new(Nuts::new()), 1);
/// let draws = Draws::of(&nuts, &e, start, Keep::from(300).after(200), Key::root(1))?;
/// let variance = draws.x.sqr()?.mean_all()?.to_scalar::<f64>()?;
/// assert!((variance / 0.01 - 1.0).abs() < 0.1);
/// assert_eq!(draws.numbers("divergent")?.iter().sum::<f64>(), 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Nuts {
    tuning: Tuning,
    max_depth: usize,
    temperature: f64,
    range: Option<(f64, f64)>,
    factor: f64,
}

const STEP: &str = "nuts.step_size";

/// Smallest and largest step size that is looked for where none is configured.
const LIMITS: (f64, f64) = (1e-10, 1e10);

impl Default for Nuts {
    fn default() -> Self {
        Nuts::new()
    }
}

impl Nuts {
    /// A step size that is looked for and moves towards acceptance 0.8, in a diagonal metric; trees of depth 10 at most; temperature 1.
    pub fn new() -> Self {
        let step = StepSize::configured(STEP, 1.0, Some(0.8), 0.1, Some(LIMITS));
        let tuning = Tuning { search: true, ..Tuning::from(step) }.in_metric(MetricKind::Diagonal);
        Nuts { tuning, max_depth: 10, temperature: 1.0, range: None, factor: 1.0 }
    }

    /// The same with a step size that never moves, and no metric.
    #[must_use]
    pub fn fixed(mut self, step_size: f64) -> Self {
        self.tuning = StepSize::fixed(STEP, step_size).into();
        self
    }

    /// The same in a metric of this kind.
    #[must_use]
    pub fn in_metric(mut self, kind: MetricKind) -> Self {
        self.tuning = self.tuning.in_metric(kind);
        self
    }

    /// The same with step sizes that move towards acceptance `target`.
    #[must_use]
    pub fn accepting(mut self, target: f64) -> Self {
        if let Some(a) = &mut self.tuning.step.adaptation {
            a.target = target;
        }
        self
    }

    /// The same with a step size and a metric for each chain.
    #[must_use]
    pub fn per_chain(mut self) -> Self {
        self.tuning.step.per_chain = true;
        self.tuning.metric.per_chain = true;
        self
    }

    /// The same at temperature T.
    #[must_use]
    pub fn at_temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// Grows all trees to their ends.
    fn grow(&self, e: &dyn EnergyFn, at: &Batch, trees: &mut [Tree], factor: &Factor) -> Result<()> {
        let width = at.x.elem_count() / at.len().max(1);
        if let Some(rows) = row_slopes(e, at)? {
            let rows = rows.as_ref();
            let slopes = |_: &[usize], points: &[f64], energy: &mut [f64], grad: &mut [f64]| {
                rows.slopes(points, energy, grad)
            };
            return shares(trees, |first, part| self.grow_by((first, part), width, factor, slopes));
        }
        let mut places = Places::new(e, at);
        self.grow_by((0, trees), width, factor, |rows, points, energy, grad| {
            let (energies, grads) = places.slopes(rows, points.to_vec())?;
            energy.copy_from_slice(&energies);
            grad.copy_from_slice(&grads);
            Ok(())
        })
    }

    /// Grows the trees of the rows from `first` on to their ends, all together, by slopes of the rows of a batch that a list names.
    fn grow_by(
        &self,
        (first, trees): (usize, &mut [Tree]),
        width: usize,
        factor: &Factor,
        mut slopes: impl FnMut(&[usize], &[f64], &mut [f64], &mut [f64]) -> Result<()>,
    ) -> Result<()> {
        let all = trees.len();
        let mut growing = Vec::with_capacity(all);
        let (mut points, mut grads) = (Vec::with_capacity(all * width), vec![0.0; all * width]);
        let mut energies = vec![0.0; all];
        let mut mapped = vec![0.0; if factor.is_turned() { all * width } else { 0 }];
        growing.extend((first..).take(all).filter(|row| !trees[row - first].is_over()));
        while !growing.is_empty() {
            points.clear();
            if factor.is_turned() {
                for row in &growing {
                    points.extend_from_slice(trees[row - first].kick());
                }
                let mapped = &mut mapped[..points.len()];
                factor.rows(Way::Up, growing.iter().copied(), &points, mapped);
                points.clear();
                for (row, along) in growing.iter().zip(mapped.chunks_exact(width)) {
                    points.extend_from_slice(trees[row - first].drift(along));
                }
            } else {
                for row in &growing {
                    points.extend_from_slice(trees[row - first].reach(factor.row(*row)));
                }
            }
            let (energies, grads) = (&mut energies[..growing.len()], &mut grads[..points.len()]);
            slopes(&growing, &points, energies, grads)?;
            if factor.is_turned() {
                factor.rows(Way::Down, growing.iter().copied(), grads, &mut mapped[..points.len()]);
            }
            for (k, row) in growing.iter().enumerate() {
                let of = k * width..(k + 1) * width;
                let outside = self
                    .range
                    .is_some_and(|(low, high)| points[of.clone()].iter().any(|v| *v < low || *v > high));
                let pull = match factor.is_turned() {
                    true => Pull::Mapped(&mapped[of.clone()]),
                    false => Pull::Scaled(factor.row(*row)),
                };
                trees[row - first].arrive((energies[k], &grads[of]), pull, outside);
            }
            growing.retain(|row| !trees[row - first].is_over());
        }
        Ok(())
    }
}

impl Transition for Nuts {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let (at, here) = (&state.at, state.slope(e)?);
        let same = (|h| h, |h| h);
        let tuned = self.tuning.of((e, key.at("search")), state, &here, self.temperature, same)?;
        let (xs, energies) = (host::numbers(&at.x)?, host::numbers(&here.energy)?);
        let (grads, rows) = (host::numbers(&here.grad)?, at.len());
        let width = xs.len() / rows.max(1);
        let mut momenta = vec![0f32; xs.len()];
        if width > 0 {
            key.at("momentum").fill_normal_rows(at.chains.ids(), width, &mut momenta);
        }
        let factor = tuned.factor.explicit();
        let mut pulls = Vec::new();
        if factor.is_turned() {
            pulls.resize(grads.len(), 0.0);
            factor.rows(Way::Down, 0.., &grads, &mut pulls);
        }
        let own = key.at("tree");
        let mut v = vec![0.0; width];
        let tree = |row: usize| {
            let of = row * width..(row + 1) * width;
            v.iter_mut().zip(&momenta[of.clone()]).for_each(|(v, m)| *v = f64::from(*m));
            let hamiltonian = energies[row] / self.temperature + 0.5 * lanes::dot(&v, &v);
            let (x, grad, pull) = (&xs[of.clone()], &grads[of.clone()], pulls.get(of));
            let place = Place { x, grad, pull, energy: energies[row], hamiltonian };
            let chain = (at.chains.ids()[row], own);
            Tree::new(chain, (tuned.sizes.at(row) * self.factor, self.max_depth), place, &v, self.temperature)
        };
        let mut trees: Vec<Tree> = (0..rows).map(tree).collect();
        self.grow(e, at, &mut trees, &factor)?;
        let (told, ends): (Vec<_>, Vec<_>) = trees.iter().map(Tree::ended).unzip();
        let dtype = here.energy.dtype();
        let energy = one_a_row(ends.iter().map(|p| p.energy).collect(), at, dtype)?;
        let squares = ends.iter().map(|p| lanes::dot(p.grad, p.grad) / width.max(1) as f64);
        let square = one_a_row(squares.collect(), at, dtype)?;
        let accepted = numbers(rows, |r| told[r].accepted)?;
        let mut next = state.advance(gathered(ends.iter().map(|p| p.x), at)?);
        let grad = gathered(ends.iter().map(|p| p.grad), at)?;
        next.cache = Some(Slope { energy: energy.clone(), grad });
        self.tuning.learn(&mut next, &tuned, &accepted)?;
        let stepped = Stepped::new(next, Link::Cut)
            .with("energy", energy)
            .with("grad_square", square)
            .with("accepted", accepted);
        if state.learning == Learning::Follow {
            return Ok(stepped);
        }
        let stepped = stepped
            .with("divergent", numbers(rows, |r| f64::from(u8::from(told[r].divergent)))?)
            .with("tree_depth", numbers(rows, |r| told[r].depth as f64)?)
            .with("leapfrogs", numbers(rows, |r| told[r].leapfrogs as f64)?)
            .with("cut", numbers(rows, |r| f64::from(u8::from(told[r].depth >= self.max_depth)))?)
            .with("hamiltonian", numbers(rows, |r| ends[r].hamiltonian)?);
        Ok(match self.tuning.step.at_limit(state, &tuned.sizes)? {
            Some(at_limit) => {
                stepped.with("at_limit", at_limit).with("step_size", numbers(rows, |r| tuned.sizes.at(r))?)
            }
            None => stepped,
        })
    }

    fn law(&self) -> Law {
        Law::Invariant { temperature: self.temperature }
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Unknown(self.name())
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.range
    }

    fn adjusted(&self, by: Adjust) -> Option<Box<dyn Transition>> {
        let mut new = self.clone();
        new.factor *= by.step_size;
        new.temperature *= by.noise * by.noise;
        Some(Box::new(new))
    }

    fn carried(&self) -> Vec<String> {
        self.tuning.carried()
    }

    fn name(&self) -> String {
        format!("nuts (metric {:?}, depth at most {})", self.tuning.metric.kind, self.max_depth)
            .to_lowercase()
    }
}

/// Settings of `nuts`.
#[derive(Debug, Clone, Settings)]
pub struct NutsConfig {
    /// Leapfrog step size to begin with; absent: it is looked for. In a metric it is looked for in any case, from here.
    #[setting(above = 0.0)]
    pub step_size: Option<f64>,
    /// Mean acceptance of a trajectory towards which the step size moves; nearer to 1 where moves diverge.
    #[setting(default = 0.8, above = 0.0, below = 1.0)]
    pub target_acceptance: f64,
    /// Coordinates in which trajectories move, as a warm-up learns them.
    #[setting(default = MetricKind::Diagonal)]
    pub metric: MetricKind,
    /// Doublings of a trajectory at most.
    #[setting(default = 10, at_least = 1, at_most = 20)]
    pub max_depth: usize,
    /// Each chain has a step size and a metric of its own; else they share what all of them learn.
    #[setting(default = false)]
    pub per_chain: bool,
    /// T of the target exp(-E/T).
    #[setting(default = 1.0, above = 0.0)]
    pub temperature: f64,
    /// Box outside of which trajectories end.
    pub range: Option<[f64; 2]>,
    /// Gain of the step size in training, in its logarithm a step; 0 keeps what was learnt.
    #[setting(default = 0.1, at_least = 0.0)]
    pub adapt_rate: f64,
    /// Smallest and largest step size.
    pub step_limits: Option<[f64; 2]>,
}

#[plugin(
    "nuts",
    summary = "the no-U-turn sampler: trajectories as long as they go on, step size and metric learnt in a warm-up",
    source = "Hoffman, Gelman 2014; Betancourt 2017 (arXiv 1701.02434); Stan",
    example = "target_acceptance = 0.8\nmetric = \"diagonal\""
)]
impl TransitionConfig for NutsConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        let limits = self.step_limits.unwrap_or([LIMITS.0, LIMITS.1]);
        let adapt = AdaptSettings {
            target_acceptance: Some(self.target_acceptance),
            adapt_rate: self.adapt_rate,
            per_chain: self.per_chain,
            step_limits: Some(limits),
            metric: self.metric,
        };
        let tuning = adapt.tuning(cx, STEP, self.step_size.unwrap_or(1.0))?;
        let search = tuning.search || self.step_size.is_none();
        Ok(Box::new(Nuts {
            tuning: Tuning { search, ..tuning },
            max_depth: self.max_depth,
            temperature: self.temperature,
            range: cx.interval("range", self.range)?,
            factor: 1.0,
        }))
    }
}

#[cfg(test)]
mod tests;
