//! The energy: five exact calls that everything in the field is made of.

use std::collections::BTreeMap;

use candle_core::{D, Tensor};

use crate::energy::conditionals::Conditionals;
use crate::energy::domain::Domain;
use crate::energy::outline::Outline;
use crate::energy::rows::RowSlopes;
use crate::energy::weights::WeightFn;
use crate::operators::{Entry, Formula, Identity, map_entries};
use crate::plan::NetPlan;
use crate::{Batch, Error, Key, ParamSet, Result, Stop, sum_of_squares};

pub mod autograd;
pub mod compose;
pub mod conditionals;
pub mod domain;
pub mod given;
pub mod opaque;
pub mod outline;
pub mod pull_back;
pub mod rows;
mod severed;
pub mod weights;

/// What a batch must look like, and what the energy returns.
#[derive(Clone, Debug, PartialEq)]
pub struct EnergySpec {
    /// Shape of one sample.
    pub sample_shape: Vec<usize>,
    /// Names of the terms; their number is `T`.
    pub terms: Vec<String>,
    /// What condition the energy takes.
    pub condition: Condition,
    /// Whether the two tangent calls are exact.
    pub exactness: Exactness,
    /// Which values its coordinates take; the five calls take any.
    pub domain: Domain,
}

/// The condition an energy takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Ignores conditions.
    None,
    /// Takes a vector of this length, or none.
    Optional(usize),
    /// Must have a vector of this length.
    Required(usize),
}

impl Condition {
    /// Length of the vector that it takes, if it takes one.
    pub fn length(self) -> Option<usize> {
        match self {
            Condition::None => None,
            Condition::Optional(n) | Condition::Required(n) => Some(n),
        }
    }
}

/// How the tangent calls (`grad_theta_slope`, `hvp`) are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// Exact up to rounding.
    Exact,
    /// Central differences of exact gradients: error `O(h²)`.
    CentralDifferences,
}

impl EnergySpec {
    /// A spec of real samples with exact derivatives and no condition.
    pub fn new(sample_shape: &[usize], terms: &[&str]) -> Self {
        EnergySpec {
            sample_shape: sample_shape.to_vec(),
            terms: terms.iter().map(|t| (*t).to_string()).collect(),
            condition: Condition::None,
            exactness: Exactness::Exact,
            domain: Domain::Real,
        }
    }

    /// The same on samples of this domain.
    #[must_use]
    pub fn on(mut self, domain: Domain) -> Self {
        self.domain = domain;
        self
    }

    /// Checks the shape of a batch and of its condition.
    ///
    /// # Errors
    /// A shape error in the words of the user.
    pub fn check(&self, component: &str, at: &Batch) -> Result<()> {
        if at.sample_shape() != self.sample_shape {
            let mut want = String::from("(B");
            self.sample_shape.iter().for_each(|d| want += &format!(", {d}"));
            return Err(Error::shape(
                component,
                at.x.dims(),
                want + ")",
                "the data do not fit this energy: change the energy's or the data's shape",
            ));
        }
        let found = at.cond.as_ref().map(|c| c.dims().to_vec());
        match (self.condition, found) {
            (Condition::Required(n), None) => Err(Error::capability(
                component,
                format!("a condition of length {n}"),
                "the batch",
                "use labelled data or wrap the energy in `conditioned`",
            )),
            (Condition::Required(n) | Condition::Optional(n), Some(d)) if d != [at.len(), n] => {
                Err(Error::shape(
                    component,
                    &d,
                    format!("condition ({}, {n})", at.len()),
                    "check the label length",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Energies and input gradient of a batch.
#[derive(Clone, Debug)]
pub struct Slope {
    /// Energies `(B,)`: the row sums of the terms.
    pub energy: Tensor,
    /// `∇ₓE`, the shape of the samples.
    pub grad: Tensor,
}

/// Gradients by parameter name, and the terms of the pass that gave them.
#[derive(Clone, Debug)]
pub struct ThetaGrad {
    /// Terms `(B, T)` of this pass (`(B, 0)` where a call does not compute them).
    pub terms: Tensor,
    /// Gradients; a parameter that does not enter is absent.
    pub grads: BTreeMap<String, Tensor>,
}

impl ThetaGrad {
    /// Adds `factor` times the gradients of `other`; terms stay as they are.
    ///
    /// # Errors
    /// If shapes differ.
    pub fn accumulate(&mut self, other: &BTreeMap<String, Tensor>, factor: f64) -> Result<()> {
        for (name, g) in other {
            let sum = match self.grads.get(name) {
                Some(mine) => {
                    let [sum] = map_entries(&Added { factor }, [mine, g])?;
                    sum
                }
                None if factor == 1.0 => g.clone(),
                None => g.affine(factor, 0.0)?,
            };
            self.grads.insert(name.clone(), sum);
        }
        Ok(())
    }

    /// Euclidean norm over all gradients, in f64.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn norm(&self) -> Result<f64> {
        let mut sum = 0.0;
        for g in self.grads.values() {
            sum += sum_of_squares(g)?;
        }
        Ok(sum.sqrt())
    }
}

/// sum + factor·g.
pub(crate) struct Added {
    pub factor: f64,
}

impl Formula<1, 2, 1> for Added {
    fn numbers(&self) -> [f64; 1] {
        [self.factor]
    }

    fn entry<E: Entry>([factor]: [E; 1], [sum, g]: [E; 2]) -> [E; 1] {
        [sum + factor * g]
    }
}

// ANCHOR: energy
/// A scalar energy E_θ(x | c) for every sample of a batch, in nats: exp(−E) is the unnormalised
/// density, so low energy means likely. `B` samples, `T` named terms.
///
/// Most authors do not implement this trait: they write [`Forward`](autograd::Forward) once and
/// wrap it in [`Autograd`](autograd::Autograd).
pub trait EnergyFn: Send + Sync {
    /// Shape of one sample, names of the terms, and the condition it expects.
    fn spec(&self) -> &EnergySpec;

    /// Tensors under dotted names, such as `small.res_1a.conv1.weight`.
    fn params(&self) -> &ParamSet;

    /// Terms of the energy, `(B, T)`; their row sum is the energy. Builds no graph.
    ///
    /// # Errors
    /// If the batch does not fit the spec or an operation fails.
    fn terms(&self, at: &Batch) -> Result<Tensor>;

    /// Energies `(B,)` and ∇ₓE (shape of `at.x`) with θ frozen: the hot call of samplers.
    ///
    /// # Errors
    /// If the batch does not fit the spec or an operation fails.
    fn slope(&self, at: &Batch) -> Result<Slope>;

    /// ∇_θ Σ w_bt·E_t(x_b); `w` sees the terms `(B, T)` of this very pass, returns as many. The terms of the result are those of the whole batch,
    /// however `w` was asked.
    ///
    /// # Errors
    /// If the batch does not fit the spec or an operation fails.
    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad>;

    /// ∇_θ Σ_b ⟨v_b, ∇ₓE(x_b)⟩ with `v` constant: the exact mixed second derivative (Du et al. 2021, the term of the last step).
    ///
    /// # Errors
    /// If the batch does not fit the spec or an operation fails.
    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad>;

    /// ∇ₓ⟨v, ∇ₓE(x)⟩ for each sample (Hessian-vector product), θ frozen.
    ///
    /// # Errors
    /// If the batch does not fit the spec or an operation fails.
    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor>;

    /// Row sums of the terms, `(B,)`.
    ///
    /// # Errors
    /// As [`EnergyFn::terms`].
    fn energy(&self, at: &Batch) -> Result<Tensor> {
        Ok(self.terms(at)?.sum(D::Minus1)?)
    }

    /// Layer plan from which a fused engine may build a faster twin of this energy; parameter
    /// names in it are those of [`EnergyFn::params`].
    fn plan(&self) -> Option<&NetPlan> {
        None
    }

    /// What it is made of, with its tensors, for whoever writes it down for another program.
    ///
    /// # Errors
    /// If it is made of something that has no such form: names the part.
    fn outline(&self) -> Result<Outline> {
        match self.plan() {
            Some(plan) => Ok(Outline::Net { plan: plan.clone(), params: self.params().clone() }),
            None => Err(outline::unwritten("an energy of its own")),
        }
    }

    /// Runs a whole row program (steps that touch each row alone) if this energy can do so faster
    /// than one [`EnergyFn::slope`] a step. The result must equal the plain loop to rounding. Samplers ask through
    /// [`operators::walk`](crate::devices::operators::walk), which goes on to what the device offers.
    ///
    /// # Errors
    /// If the batch does not fit the spec or an operation fails.
    fn walk(&self, at: &Batch, program: &RowProgram, key: Key) -> Result<Option<Walked>> {
        let _ = (at, program, key);
        Ok(None)
    }

    /// Slopes of single rows as plain numbers, with the parameters of this moment, where that takes less time than tensors: small
    /// closed forms, small networks. Samplers whose arithmetic is on the processor ask for it before a trajectory, and go on with
    /// [`EnergyFn::slope`] where there is none: for this dtype, device or condition of `at`, or at all. What it gives is that of
    /// [`EnergyFn::slope`] to rounding.
    ///
    /// # Errors
    /// If the batch does not fit the spec, or a parameter cannot be read.
    fn rows<'a>(&'a self, at: &Batch) -> Result<Option<Box<dyn RowSlopes + 'a>>> {
        let _ = at;
        Ok(None)
    }

    /// Stays the same as long as [`EnergyFn::slope`] starts the same work on the same memory for samples and conditions of the same shapes,
    /// whatever is written over there: then a device may record a step once, and start it again after an update. An energy that gives one
    /// writes what it derives from its parameters in place, and looks at no chains. `None`: a recording serves one walk.
    fn identity(&self) -> Option<Identity> {
        None
    }

    /// New values of buffers after an update (power iteration); computed, not written.
    ///
    /// # Errors
    /// If an operation fails.
    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(BTreeMap::new())
    }

    /// The energy as a normalised density, where it is known in closed form.
    fn density(&self) -> Option<&dyn Density> {
        None
    }

    /// Laws of coordinates given all others, where they are known in closed form.
    fn conditionals(&self) -> Option<&dyn Conditionals> {
        None
    }

    /// One line on how the five calls are computed, for `ebm check`.
    fn engine(&self) -> String {
        "graph".into()
    }

    /// What an engine chose for each layer, and the memory of a call on `batch` samples: one line a
    /// layer. Empty where layers run as they stand.
    fn layers(&self, batch: usize) -> String {
        let _ = batch;
        String::new()
    }
}
// ANCHOR_END: energy

/// What closed-form energies know exactly.
pub trait Density: Send + Sync {
    /// `log p(x)`, normalised, `(B,)`, nats.
    ///
    /// # Errors
    /// If an operation fails.
    fn log_density(&self, at: &Batch) -> Result<Tensor>;

    /// Independent exact draws for these chains, `(B, ...)` in the dtype and on the device of the parameters.
    ///
    /// # Errors
    /// If an operation fails.
    fn draw(&self, chains: &crate::Chains, key: Key) -> Result<Tensor>;

    /// Exact mean of each coordinate, flattened, if finite.
    fn mean(&self) -> Option<Vec<f64>> {
        None
    }

    /// Exact variance of each coordinate, flattened, if finite.
    fn variance(&self) -> Option<Vec<f64>> {
        None
    }
}

/// One gradient step on each row alone, as data, so that an engine can run many of them at once.
///
/// Order of operations, all in the dtype of the samples: `x̂ = x + σ·ε` if `noise_first`;
/// `d = step_size·∇E(x̂)`; `d` limited to `±move_limit`; `y = x̂ − d`; `y = y + σ·ε` if not
/// `noise_first`; clamp to `clamp`. `ε` of step `k` is `key.at(k)`'s normal row of the chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowStep {
    /// Factor λ of the gradient.
    pub step_size: f64,
    /// Standard deviation σ of the noise.
    pub noise: f64,
    /// Noise before the gradient is taken (the published program) or after the move (textbook).
    pub noise_first: bool,
    /// Range of the samples after the step.
    pub clamp: Option<(f64, f64)>,
    /// Largest move of one coordinate.
    pub move_limit: Option<f64>,
}

/// A sequence of row steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowProgram {
    /// The steps in order.
    pub steps: Vec<RowStep>,
    /// Whoever runs all steps at once looks here before each, and leaves its loop when it is set.
    pub stop: Stop,
}

impl RowProgram {
    /// A program that nobody wishes to stop.
    pub fn new(steps: Vec<RowStep>) -> Self {
        RowProgram { steps, stop: Stop::default() }
    }
}

/// Result of [`EnergyFn::walk`].
#[derive(Clone, Debug)]
pub struct Walked {
    /// Last samples, `(B, ...)`.
    pub x: Tensor,
    /// The point at which the last gradient was taken (x̂).
    pub hat: Tensor,
    /// Its gradient ∇E(x̂).
    pub grad: Tensor,
    /// Energies at x̂ of each step, `(K, B)`.
    pub energy: Tensor,
    /// Mean square of the gradient's entries at each step, `(K, B)`.
    pub grad_square: Tensor,
}
