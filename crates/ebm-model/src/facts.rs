//! What a model must know of the samples it was trained on.

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Condition, EnergyFn, Error, Given, Result};

/// What a model must know of the samples it was trained on. A checkpoint keeps it, so that nothing needs the data themselves
/// but measures against them.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Shape of one sample.
    pub sample_shape: Vec<usize>,
    /// Length of the condition; 0 for none.
    pub condition: usize,
    /// Names of the classes by their number; empty if they have none, and of a checkpoint that kept none.
    pub class_names: Vec<String>,
    /// Range of sample values, if bounded.
    pub range: Option<(f64, f64)>,
    /// Smallest and largest value of some training samples where no range is known; `None` in checkpoints of programs before it.
    pub seen: Option<(f64, f64)>,
    /// Number of grey values of dequantised images.
    pub levels: Option<u32>,
    /// Conditions that samples are drawn under, in turn, `(m, c)`: those of the first data batch. `None` without a condition,
    /// and of a checkpoint of format 1, which kept none.
    pub conditions: Option<Tensor>,
    /// Samples of the first data batch `(m, ...)`, if the program for generation looks at such.
    pub reference: Option<Tensor>,
}

impl Facts {
    /// Samples of this shape without range, levels and conditions.
    pub fn of_shape(sample_shape: &[usize]) -> Self {
        Facts { sample_shape: sample_shape.to_vec(), ..Facts::default() }
    }

    /// The same with tensors of this type on this device.
    ///
    /// # Errors
    /// If they cannot be moved.
    pub fn to(mut self, dtype: DType, device: &Device) -> Result<Self> {
        let there = |t: Option<Tensor>| -> Result<Option<Tensor>> {
            t.map(|t| Ok(t.to_dtype(dtype)?.to_device(device)?)).transpose()
        };
        (self.conditions, self.reference) = (there(self.conditions)?, there(self.reference)?);
        Ok(self)
    }

    /// The condition that `given` says for samples of `energy`; `None` if it says none.
    ///
    /// # Errors
    /// If the energy takes no condition, or there is no such class.
    pub fn given(&self, given: Option<&Given>, energy: &dyn EnergyFn) -> Result<Option<Vec<f64>>> {
        let Some(given) = given else { return Ok(None) };
        let refuse = |why: &str| Error::config("generate.given", format!("is {given}, but {why}"));
        if energy.spec().condition == Condition::None {
            return Err(refuse("the energy takes no condition"));
        }
        given.vector(self.condition, &self.class_names).map(Some).map_err(|why| refuse(&why))
    }

    /// The conditions for samples of `energy`, if it takes one.
    ///
    /// # Errors
    /// If it takes one and they are not known.
    pub fn conditions_for(&self, energy: &dyn EnergyFn) -> Result<Option<&Tensor>> {
        let takes = energy.spec().condition != Condition::None;
        match &self.conditions {
            None if takes && self.condition > 0 => Err(Error::capability(
                "generation",
                format!("conditions of length {} to draw samples under", self.condition),
                "the checkpoint (format 1 kept none, and the training data were not read)",
                "make the training data available, or continue the run by a step, which writes them",
            )),
            found => Ok(found.as_ref()),
        }
    }
}
