//! Demands: what an objective wants differentiated, as data that the trainer merges, splits and places.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::Tensor;

use crate::{Batch, Result, WeightFn};

/// Name of a loss term in reports (`loss.<term>`), such as `cd`; or of a parameter of an objective.
pub type TermName = Cow<'static, str>;

/// The value of a term as a function of the energies `(B, T)` of its demand's batch.
pub type ValueFn = dyn Fn(&Tensor) -> Result<f64> + Send + Sync;

/// The gradient in a parameter of an objective, of the parameter's shape, as a function of the energies `(B, T)` of its demand's batch.
pub type OwnFn = dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync;

/// What to differentiate.
pub enum What {
    /// ∇_θ Σ w_bt·E_t(x_b).
    Energy {
        /// Which batch this is, such as `data` or `samples`; demands on the same one share a pass.
        rows: &'static str,
        /// The batch.
        at: Batch,
        /// Weights `(B, T)` as a function of the terms.
        weight: WeightFn<'static>,
        /// Contribution to the loss term's value.
        value: Box<ValueFn>,
    },
    /// ∇_θ Σ_b ⟨v_b, ∇ₓE(x_b)⟩.
    Slope {
        /// The batch.
        at: Batch,
        /// The constant direction.
        v: Tensor,
        /// Contribution to the loss term's value.
        value: f64,
    },
    /// The gradient in a parameter of the objective itself ([`Objective::params`]).
    ///
    /// [`Objective::params`]: crate::Objective::params
    Own {
        /// The parameter, as it was declared.
        name: TermName,
        /// Name and rows of a batch whose terms the gradient sees, in the pass of the energy demands on the same rows.
        rows: &'static str,
        /// The batch.
        at: Batch,
        /// The gradient, of the parameter's shape, as a function of the terms `(B, T)`.
        grad: Box<OwnFn>,
    },
    /// Nothing: a number of the report beside the loss, such as an accuracy.
    Measure {
        /// What it is: reports have it as `<loss term>.<name>`.
        name: &'static str,
        /// Name and rows of a batch whose terms it sees, in the pass of the energy demands on the same rows.
        rows: &'static str,
        /// The batch.
        at: Batch,
        /// The number; those of portions add up.
        value: Box<ValueFn>,
    },
}

impl What {
    /// `factor` times the same.
    fn scaled(self, factor: f64) -> Result<Self> {
        Ok(match self {
            What::Energy { rows, at, weight, value } => {
                let value: Box<ValueFn> = Box::new(move |t| Ok(factor * value(t)?));
                let weight = weight.around(move |_, t, w| Ok(w(t)?.affine(factor, 0.0)?));
                What::Energy { rows, at, weight, value }
            }
            What::Slope { at, v, value } => {
                What::Slope { at, v: v.affine(factor, 0.0)?, value: factor * value }
            }
            What::Own { name, rows, at, grad } => {
                let grad: Box<OwnFn> = Box::new(move |t| Ok(grad(t)?.affine(factor, 0.0)?));
                What::Own { name, rows, at, grad }
            }
            measure @ What::Measure { .. } => measure,
        })
    }
}

/// One part of the update direction, with the name of the loss term it belongs to.
pub struct Demand {
    /// The loss term: `cd`, `reg`, `kl`, `ent`, `label`, or a name of one's own.
    pub label: TermName,
    /// What to differentiate.
    pub what: What,
}

/// All demands of a step and the values of terms that are known already.
#[derive(Default)]
pub struct Demands {
    /// Their gradients add up to the gradient of the loss.
    pub list: Vec<Demand>,
    /// Values of loss terms by label; those of demands are added when they are fulfilled.
    pub values: BTreeMap<TermName, f64>,
}

impl Demands {
    /// Adds a demand on energies whose weights `(B, T)` may look at all rows; where each row's are a function of this row alone,
    /// [`Demands::energy_by_row`] takes less time.
    pub fn energy(
        &mut self,
        label: impl Into<TermName>,
        rows: &'static str,
        at: &Batch,
        weight: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
        value: impl Fn(&Tensor) -> Result<f64> + Send + Sync + 'static,
    ) {
        self.weighted(label.into(), rows, at, WeightFn::of_all(weight), Box::new(value));
    }

    /// Adds a demand on energies of which each row's weights are a function of this row alone: `weight` is told which rows of `at` it is asked
    /// for, sees their terms `(rows, T)`, returns as many, and is asked in parts, in any order, on any thread.
    pub fn energy_by_row(
        &mut self,
        label: impl Into<TermName>,
        rows: &'static str,
        at: &Batch,
        weight: impl Fn(Range<usize>, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
        value: impl Fn(&Tensor) -> Result<f64> + Send + Sync + 'static,
    ) {
        self.weighted(label.into(), rows, at, WeightFn::by_row(weight), Box::new(value));
    }

    fn weighted(
        &mut self,
        label: TermName,
        rows: &'static str,
        at: &Batch,
        weight: WeightFn<'static>,
        value: Box<ValueFn>,
    ) {
        self.list.push(Demand { label, what: What::Energy { rows, at: at.clone(), weight, value } });
    }

    /// Adds a demand on a directional slope, and `value` to its term.
    pub fn slope(&mut self, label: impl Into<TermName>, at: Batch, v: Tensor, value: f64) {
        self.list.push(Demand { label: label.into(), what: What::Slope { at, v, value } });
    }

    /// Adds the gradient in the objective's own parameter `name`: its value is part of the term's energy demand.
    pub fn own(
        &mut self,
        label: impl Into<TermName>,
        name: impl Into<TermName>,
        rows: &'static str,
        at: &Batch,
        grad: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
    ) {
        let what = What::Own { name: name.into(), rows, at: at.clone(), grad: Box::new(grad) };
        self.list.push(Demand { label: label.into(), what });
    }

    /// Adds a number to the report, as `<label>.<name>`: a sum over rows, such as `1 / rows of the batch` for each that is right.
    pub fn measure(
        &mut self,
        label: impl Into<TermName>,
        name: &'static str,
        rows: &'static str,
        at: &Batch,
        value: impl Fn(&Tensor) -> Result<f64> + Send + Sync + 'static,
    ) {
        let what = What::Measure { name, rows, at: at.clone(), value: Box::new(value) };
        self.list.push(Demand { label: label.into(), what });
    }

    /// Adds `value` to a loss term whose value no demand carries.
    pub fn value(&mut self, label: impl Into<TermName>, value: f64) {
        *self.values.entry(label.into()).or_insert(0.0) += value;
    }

    /// `factor` times the loss: its gradients and its values.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn scaled(self, factor: f64) -> Result<Self> {
        if factor == 1.0 {
            return Ok(self);
        }
        let demand = |d: Demand| Ok(Demand { label: d.label, what: d.what.scaled(factor)? });
        let list = self.list.into_iter().map(demand).collect::<Result<_>>()?;
        Ok(Demands { list, values: self.values.into_iter().map(|(label, v)| (label, factor * v)).collect() })
    }

    /// The same with other names of the terms.
    ///
    /// # Errors
    /// Those of `name`.
    pub fn renamed(self, name: impl Fn(&str) -> Result<TermName>) -> Result<Self> {
        let demand = |d: Demand| Ok(Demand { label: name(&d.label)?, what: d.what });
        let list = self.list.into_iter().map(demand).collect::<Result<_>>()?;
        let values = self.values.into_iter().map(|(label, v)| Ok((name(&label)?, v)));
        Ok(Demands { list, values: values.collect::<Result<_>>()? })
    }

    /// The demands of both.
    pub fn extend(&mut self, other: Demands) {
        self.list.extend(other.list);
        other.values.into_iter().for_each(|(label, v)| self.value(label, v));
    }
}
