//! What a plan costs: parameters, multiply-adds, activation memory.

use ebm_core::plan::{NetPlan, Op};
use ebm_core::{Result, Role};

use crate::check::plan_tensors;
use crate::shape::multiply_adds;

/// Cost of a plan for one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Trainable scalars.
    pub parameters: usize,
    /// Multiply-adds of one forward pass: convolutions, linear layers, attention.
    pub multiply_adds: u64,
    /// Values that a backward pass keeps: results of all nodes but the input and reshapes.
    pub activations: usize,
}

impl Cost {
    /// The cost of `plan`.
    ///
    /// # Errors
    /// If the plan reads one name with different shapes.
    pub fn of(plan: &NetPlan) -> Result<Self> {
        let parameters = plan_tensors(plan)?
            .iter()
            .filter(|t| t.role == Role::Trainable)
            .map(|t| t.shape.iter().product::<usize>())
            .sum();
        let kept = |op: &Op| !matches!(op, Op::Input | Op::Places { .. } | Op::Flatten);
        Ok(Cost {
            parameters,
            multiply_adds: plan.nodes.iter().map(|n| multiply_adds(plan, n)).sum(),
            activations: plan
                .nodes
                .iter()
                .filter(|n| kept(&n.op))
                .map(|n| n.shape.iter().product::<usize>())
                .sum(),
        })
    }

    /// Bytes of activations that one backward pass over `batch` samples holds, at `width` bytes a
    /// value. An estimate: a normalisation layer of the graph keeps about three values for each of its
    /// results, a fused engine fewer than one.
    pub fn activation_bytes(&self, batch: usize, width: usize) -> usize {
        self.activations.saturating_mul(batch).saturating_mul(width)
    }
}
