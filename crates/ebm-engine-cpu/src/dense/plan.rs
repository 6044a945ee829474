//! A compiled plan of fully connected layers.

use ebm_core::plan::NetPlan;

use super::graph::{Graph, Slot, Source};
use super::kernels::Kernels;
use super::program::Program;
use crate::simd::Isa;
use crate::unsupported::Unsupported;

/// A compiled plan: instructions for values and for values with a tangent.
pub struct DensePlan {
    pub(super) graph: Graph,
    pub(super) kernels: Kernels,
    pub(super) first: Program,
    pub(super) second: Program,
    pub(super) tasks: Vec<GradTask>,
    pub(super) cuts: Vec<usize>,
    pub(super) scratch: usize,
}

/// A part of the flat gradient that one thread computes.
#[derive(Clone, Copy, Debug)]
pub(super) struct GradTask {
    pub linear: usize,
    pub bias: bool,
    pub first: usize,
    pub count: usize,
}

impl DensePlan {
    /// Compiles a plan for an instruction set (or the best one below it that this processor has).
    ///
    /// # Errors
    /// The reason if the plan has operations other than input, flatten, linear, pointwise,
    /// Fourier, scale, add, concatenate, sum and the condition vector.
    pub fn compile(plan: &NetPlan, isa: Isa) -> Result<DensePlan, Unsupported> {
        let graph = Graph::build(plan)?;
        let (first, second) = (graph.schedule(false), graph.schedule(true));
        let (mut tasks, mut cuts, mut scratch) = (Vec::new(), vec![0], 16);
        let mut end = 0;
        for (linear, l) in graph.linears.iter().enumerate() {
            if !matches!(l.weight, Source::Param(_)) {
                continue;
            }
            let padded = l.in_blocks * 16;
            let most = (8192 / padded).max(16) / 16 * 16;
            for start in (0..l.outputs).step_by(most) {
                let count = most.min(l.outputs - start);
                tasks.push(GradTask { linear, bias: false, first: start, count });
                end += count * l.places.len();
                cuts.push(end);
                scratch = scratch.max(count * padded);
            }
            if l.bias.is_some() {
                tasks.push(GradTask { linear, bias: true, first: 0, count: l.outputs });
                end += l.outputs;
                cuts.push(end);
                scratch = scratch.max(l.out_blocks() * 16);
            }
        }
        Ok(DensePlan { graph, kernels: Kernels::new(isa), first, second, tasks, cuts, scratch })
    }

    /// Trainable tensors in the order of the flat parameter vector.
    pub fn params(&self) -> &[Slot] {
        &self.graph.params
    }

    /// Constant tensors in the order of the flat buffer vector.
    pub fn buffers(&self) -> &[Slot] {
        &self.graph.buffers
    }

    /// Length of the flat parameter vector.
    pub fn param_count(&self) -> usize {
        self.graph.params.last().map_or(0, |s| s.offset + s.len())
    }

    /// Length of the flat buffer vector.
    pub fn buffer_count(&self) -> usize {
        self.graph.buffers.last().map_or(0, |s| s.offset + s.len())
    }

    /// What was chosen for each linear layer, one line each.
    pub fn describe(&self) -> String {
        let way = |narrow| if narrow { "dot products" } else { "blocks of 16 columns" };
        let mut out = format!("dense engine, {}\n", self.isa().name());
        for l in &self.graph.linears {
            let name = match l.weight {
                Source::Param(i) => self.graph.params[i].name.as_str(),
                Source::Buffer(i) => self.graph.buffers[i].name.as_str(),
                Source::Ones => "(sum)",
                Source::Identity => "(order of coordinates)",
            };
            out += &format!(
                "    {name:<32} {}→{}  forward by {}, back by {}\n",
                l.places.len(),
                l.outputs,
                way(l.narrow()),
                way(l.narrow_back())
            );
        }
        out
    }

    /// Floats of one row: a sample, and its condition behind it.
    pub fn width(&self) -> usize {
        self.graph.width()
    }

    /// Length of the condition; 0 if the plan looks at none.
    pub fn condition(&self) -> usize {
        self.graph.condition
    }

    /// Number of terms.
    pub fn term_count(&self) -> usize {
        self.first.terms.len()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.kernels.isa()
    }
}
