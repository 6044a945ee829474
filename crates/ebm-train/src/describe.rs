//! What a plan is made of.

use serde::Serialize;

use crate::plan::Plan;

/// The parts of a plan in words and numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// Kind of each part, by section.
    pub parts: Vec<(String, String)>,
    /// Shape of one sample.
    pub sample_shape: Vec<usize>,
    /// Length of the condition; 0 for none.
    pub condition: usize,
    /// Training samples.
    pub samples: usize,
    /// Batches in an epoch.
    pub batches: usize,
    /// Trainable scalars.
    pub parameters: usize,
    /// Names of the energy's terms.
    pub terms: Vec<String>,
    /// How the calls of the energy are computed.
    pub engine: String,
    /// Remarks of the parts.
    pub notes: Vec<String>,
    /// Estimated memory.
    pub memory: Memory,
}

/// Estimated bytes of a run without its buffer, which knows its size only when full.
///
/// Activations count twice the outputs of all layers of the plan (values and gradients) for data and samples together; 0
/// where the energy has no layer plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Parameters, gradients, average and two moments.
    pub weights: u64,
    /// Activations of the largest pass.
    pub activations: u64,
}

impl Memory {
    /// All together.
    pub fn total(&self) -> u64 {
        self.weights + self.activations
    }
}

impl Plan {
    /// What the plan is made of.
    pub fn describe(&self) -> Description {
        let kind = |section: &str| {
            let kind = self.tree.pointer(&format!("/{section}/kind")).and_then(|k| k.as_str());
            kind.map(|k| (section.to_string(), k.to_string()))
        };
        let sections = ["data", "energy", "sampler", "replay", "objective", "optimiser"];
        let bytes = self.dtype.size_in_bytes() as u64;
        let params = self.parts.energy.params();
        let stored: usize = params.names().filter_map(|n| params.get(n)).map(|t| t.elem_count()).sum();
        let copies = 4 + u64::from(self.optimiser.average().is_some());
        Description {
            parts: sections.into_iter().filter_map(kind).collect(),
            sample_shape: self.data.sample_shape().to_vec(),
            condition: self.data.condition(),
            samples: self.data.len(),
            batches: self.data.batches(self.config.run.batch),
            parameters: params.count(),
            terms: self.parts.energy.spec().terms.clone(),
            engine: self.parts.energy.engine(),
            notes: self.notes.clone(),
            memory: Memory {
                weights: stored as u64 * bytes * copies,
                activations: self.activations() * bytes,
            },
        }
    }

    /// Values held for data and samples in one pass, and their gradients.
    fn activations(&self) -> u64 {
        let Some(plan) = self.parts.energy.plan() else { return 0 };
        let one: usize = plan.nodes.iter().map(|n| n.shape.iter().product::<usize>()).sum();
        (one * self.config.run.batch * 4) as u64
    }
}
