//! Other programs: golden files to compare with, checkpoints to take weights from and to give them back.
//!
#![doc = include_str!("../README.md")]

mod moments;
pub mod sequential;
pub mod torch;
pub mod weights;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use ebm_core::{Engine, OptimiserState, ParamSet, Result};
use serde::Serialize;

pub use moments::{Moments, OptimiserFile};
pub use weights::{WeightFile, read_tensors};

/// Checks this framework against files of another program's inputs and results.
pub struct Comparison {
    /// Its name, kebab-case.
    pub name: &'static str,
    /// What files it reads, to be said of a file that nobody knows.
    pub wants: &'static str,
    /// Compares all of a file; `None` if the file is of another kind.
    pub check: fn(&Path, &CompareMode) -> Result<Option<Compared>>,
    /// The crate that brings it.
    pub origin: &'static str,
}

inventory::collect!(Comparison);

/// How to compute what is compared.
#[derive(Clone)]
pub struct CompareMode {
    /// Number type.
    pub dtype: DType,
    /// A fused engine to put in the graph's place where it can.
    pub engine: Option<Arc<dyn Engine>>,
}

impl CompareMode {
    /// The graph in this number type.
    pub fn graph(dtype: DType) -> Self {
        CompareMode { dtype, engine: None }
    }

    /// The same through `engine`.
    #[must_use]
    pub fn with_engine(mut self, engine: Arc<dyn Engine>) -> Self {
        self.engine = Some(engine);
        self
    }
}

/// What a comparison found.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// The network and its settings, in a few words.
    pub subject: String,
    /// The energy's own word on how it was computed.
    pub engine: String,
    /// The section `[energy]` of a configuration that gives the same energy, where there is one.
    pub energy: Option<String>,
    /// Every quantity.
    pub rows: Vec<Quantity>,
}

/// One compared quantity.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quantity {
    /// What was compared, such as `gradient kl, golden x`.
    pub quantity: String,
    /// Deviation, in the measure of the quantity.
    pub error: f64,
    /// Largest deviation that passes.
    pub tolerance: f64,
    /// Whether it does.
    pub pass: bool,
}

/// All comparisons that are linked, by name.
pub fn comparisons() -> Vec<&'static Comparison> {
    let mut all: Vec<_> = inventory::iter::<Comparison>.into_iter().collect();
    all.sort_by_key(|c| c.name);
    all
}

/// Takes weights from another program's checkpoints and gives them back under its names.
pub struct Exchange {
    /// Its name, kebab-case.
    pub name: &'static str,
    /// The program.
    pub about: &'static str,
    /// Whether the energy of this configuration is one of the program's.
    pub fits: fn(&serde_json::Value) -> bool,
    /// Reads a checkpoint, or what is under a key of it, for an energy with these parameters; nothing is written to them.
    pub read: fn(&Path, Option<&str>, &ParamSet) -> Result<Incoming>,
    /// The program's own state for such an energy.
    pub write: fn(&Outgoing<'_>) -> Result<Written>,
    /// The crate that brings it.
    pub origin: &'static str,
}

inventory::collect!(Exchange);

/// What a foreign checkpoint holds, under this framework's names.
#[derive(Clone, Debug, Default)]
pub struct Incoming {
    /// Every parameter and buffer.
    pub live: BTreeMap<String, Tensor>,
    /// Moving average of the trainable parameters, if there is one.
    pub average: Option<BTreeMap<String, Tensor>>,
    /// Kind and state of the optimiser, if there is one.
    pub optimiser: Option<(String, OptimiserState)>,
    /// Number of updates, if the file says it.
    pub step: Option<u64>,
    /// Whether that is a number in the file's name and not in the file.
    pub step_by_name: bool,
    /// What a user should know: tensors left aside, parts that are missing.
    pub remarks: Vec<String>,
}

/// Weights on their way out.
pub struct Outgoing<'a> {
    /// The energy's configuration, complete.
    pub energy: &'a serde_json::Value,
    /// Shape of one sample.
    pub sample_shape: &'a [usize],
    /// Every parameter and buffer, under this framework's names.
    pub weights: &'a BTreeMap<String, Tensor>,
}

/// A state under another program's names.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Tensors by the program's names.
    pub tensors: BTreeMap<String, Tensor>,
    /// What a user should know: tensors that are filled up.
    pub remarks: Vec<String>,
}

/// All exchanges that are linked, by name.
pub fn exchanges() -> Vec<&'static Exchange> {
    let mut all: Vec<_> = inventory::iter::<Exchange>.into_iter().collect();
    all.sort_by_key(|e| e.name);
    all
}
