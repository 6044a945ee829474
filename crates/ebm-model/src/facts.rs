//! What a model must know of the samples it was trained on.

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Columns, Condition, Domain, EnergyFn, Error, Given, Key, Result};

/// Conditions that are drawn at most; more samples have them in turn.
const MOST_DRAWN: usize = 1 << 16;

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
    /// Training samples of each class; empty if conditions are no classes, and of a checkpoint that kept none.
    pub class_counts: Vec<u64>,
    /// Range of sample values, if bounded.
    pub range: Option<(f64, f64)>,
    /// Smallest and largest value of some training samples where no range is known; `None` in checkpoints of programs before it.
    pub seen: Option<(f64, f64)>,
    /// Which values samples take, where more is known of them than their range.
    pub domain: Option<Domain>,
    /// Mean of the data, of the shape of a sample, where their domain is discrete.
    pub mean: Option<Tensor>,
    /// Number of grey values of dequantised images.
    pub levels: Option<u32>,
    /// The columns of the table that samples were made of; empty of samples in the units of their files.
    pub columns: Columns,
    /// Conditions of the first data batch `(m, c)`, under which samples are drawn in turn where there are no `class_counts`. `None` without a condition,
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
        self.mean = there(self.mean)?;
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
        self.vector(given, energy).map(Some).map_err(|why| refuse(&why))
    }

    /// The condition that `given` is for `energy`: data without one leave it to the energy, such as a noise level.
    ///
    /// # Errors
    /// In words, if there is no such class, or the numbers are not as many.
    pub fn vector(&self, given: &Given, energy: &dyn EnergyFn) -> std::result::Result<Vec<f64>, String> {
        let length = match self.condition {
            0 => energy.spec().condition.length().unwrap_or(0),
            n => n,
        };
        given.vector(length, &self.class_names)
    }

    /// The conditions of `n` samples of `energy`, to be used in turn: classes as often as in the training data, each drawn by
    /// `key` and the number of its sample, or, where they are not counted, those of the first data batch.
    ///
    /// # Errors
    /// As [`Facts::conditions_for`].
    pub fn drawn_for(&self, n: usize, energy: &dyn EnergyFn, key: Key) -> Result<Option<Tensor>> {
        let in_turn = self.conditions_for(energy)?;
        let (n, of) = (n.min(MOST_DRAWN), self.class_counts.len());
        let counted = self.class_counts.iter().any(|count| *count > 0);
        let Some(in_turn) = in_turn.filter(|_| counted && energy.spec().condition != Condition::None) else {
            return Ok(in_turn.cloned());
        };
        let mut hot = vec![0f32; n * of];
        for (i, class) in by_frequency(&self.class_counts, key.at("classes")).take(n).enumerate() {
            hot[i * of + class] = 1.0;
        }
        let drawn = Tensor::from_vec(hot, (n, of), &Device::Cpu)?;
        Ok(Some(drawn.to_dtype(in_turn.dtype())?.to_device(in_turn.device())?))
    }

    /// The conditions for samples of `energy`, if it takes one: those of the first data batch.
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

/// Classes as often as they are counted, each drawn by inversion from the uniform number of its place.
fn by_frequency(counts: &[u64], key: Key) -> impl Iterator<Item = usize> {
    let rising: Vec<u64> = counts
        .iter()
        .scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        })
        .collect();
    let total = rising.last().copied().unwrap_or(0);
    (0..).map(move |i| {
        // Exact in integers, so that a class that never occurs is never drawn.
        let at = ((u128::from(key.word(i)) * u128::from(total)) >> 64) as u64;
        rising.partition_point(|sum| *sum <= at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_drawn_as_often_as_they_occur_and_the_same_for_any_number() {
        let counts = [700, 0, 200, 100];
        let drawn: Vec<usize> = by_frequency(&counts, Key::root(3)).take(10_000).collect();
        let of = |class: usize| drawn.iter().filter(|c| **c == class).count() as f64;
        // Within four standard deviations, 46 at most.
        assert!((of(0) - 7000.0).abs() < 184.0 && (of(2) - 2000.0).abs() < 160.0, "{} {}", of(0), of(2));
        assert_eq!((of(1), of(0) + of(2) + of(3)), (0.0, 10_000.0));
        assert!(by_frequency(&counts, Key::root(3)).take(10).eq(drawn[..10].iter().copied()));
        assert!(!by_frequency(&counts, Key::root(4)).take(50).eq(drawn[..50].iter().copied()));
    }
}
