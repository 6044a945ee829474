//! A conditional energy as a classifier: p(y | x) from the energies of a sample under each class.

use candle_core::{DType, Device, Tensor};
use ebm_core::Conditioned;
use ebm_eval::{CALIBRATION_BINS, Classification, Features, classification};
use ebm_model::Energies;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::inputs::class_names::renumbered;
use crate::inputs::fit::Fit;
use crate::inputs::set::Inputs;
use crate::measure::temperature;
use crate::model::energies::one_hot;
use crate::model::open::Model;

/// What is classified.
#[derive(Clone, Debug)]
pub struct ClassOptions {
    /// Labelled samples; the held-out part of the run's data without it.
    pub inside: Option<String>,
    /// Samples used at most, at equal distances, for a set may be sorted by class; all without it.
    pub count: Option<usize>,
    /// Temperature of the classes: p(y | x) = softmax(−E(x, y)/T), 1 by default; give that of the label term that the run was trained with.
    pub temperature: f64,
}

impl Default for ClassOptions {
    fn default() -> Self {
        ClassOptions { inside: None, count: None, temperature: 1.0 }
    }
}

/// How right and how well calibrated `softmax(−E(x, y)/T)` is.
#[derive(Clone, Debug, Serialize)]
pub struct ClassReport {
    /// The samples.
    pub set: String,
    /// Updates of the checkpoint; none for a configuration.
    pub step: Option<u64>,
    /// Number of classes.
    pub classes: usize,
    /// Their temperature.
    pub temperature: f64,
    /// Accuracy and calibration.
    #[serde(flatten)]
    pub figures: Classification,
    /// Of each class: its name or number, its samples, and how many of them were taken for it.
    pub by_class: Vec<(String, usize, usize)>,
}

/// Classifies labelled samples by the energies under each class, `p(y | x) ∝ exp(−E(x, y))` (Grathwohl et al. 2020, equation 2).
/// Classes that have names on both sides are matched by these, else by their numbers.
///
/// The energy must have been trained to tell classes (objective `label`) for its probabilities to mean something: an energy of
/// `x` under each class alone may have any constant for each.
///
/// # Errors
/// If the energy takes no class, the samples have no labels or classes that it does not know, or do not fit.
pub fn classify_by_energy(model: &Model, options: &ClassOptions) -> Result<ClassReport> {
    temperature::check(options.temperature)?;
    let Some(classes) = model.energy().spec().condition.length() else {
        return Err(Error::unfit(
            "the model",
            "its energy takes no condition, wanted a conditional one, such as a `conv-net` with conditional = true",
        ));
    };
    if let Some(conditions) = &model.facts().conditions
        && !one_hot(conditions)?
    {
        return Err(Error::unfit("the model", "its conditions are no classes (one-hot vectors)"));
    }
    let set = match &options.inside {
        Some(what) => Inputs::open(what)?,
        None => Inputs::held_out(model.data()?, "inside")?,
    };
    let known = &model.facts().class_names;
    let Classified { x, labels, names } = labelled(&set, model, options.count)?;
    let names = if known.is_empty() { &names } else { known };
    let mut columns = Vec::with_capacity(classes);
    for class in 0..classes {
        let one_hot = (0..classes).map(|k| f64::from(u8::from(k == class))).collect();
        let energy = Conditioned::new(model.energy().clone(), one_hot)?;
        let of = Energies::of(&energy, model.batch(), model.dtype(), model.device().clone());
        columns.push(of.at(&x)?);
    }
    let rows: Vec<f64> = (0..labels.len())
        .flat_map(|i| softmax(columns.iter().map(|c| -c[i] / options.temperature)))
        .collect();
    let probabilities = Features::new(rows, labels.len(), classes)?;
    let figures = classification(&probabilities, &labels, CALIBRATION_BINS)?;
    Ok(ClassReport {
        set: set.name().to_string(),
        step: model.step(),
        classes,
        temperature: options.temperature,
        figures,
        by_class: by_class(&probabilities, &labels, names),
    })
}

/// Samples as the model knows them, `(n, ...)`, with their labels in its numbers of classes and the names that the set has for its own.
struct Classified {
    x: Tensor,
    labels: Vec<u32>,
    names: Vec<String>,
}

/// All samples of a set, or `most` at equal distances. They go the way that samples go to be scored, for the values of another table
/// stand in that table's units.
fn labelled(set: &Inputs, model: &Model, most: Option<usize>) -> Result<Classified> {
    let facts = model.facts();
    let given = match set.stored_part() {
        Some((source, split)) => {
            let labels = source.stored(split, usize::MAX)?.and_then(|stored| stored.labels);
            labels.map(|labels| (labels, source.class_names().to_vec()))
        }
        None => set.table_classes(&facts.columns)?,
    };
    let (all, names) = given.ok_or_else(|| without_labels(set, facts.columns.label()))?;
    let all = renumbered(all, &names, &facts.class_names, set.name())?;
    let spec = model.energy().spec();
    let double = model.dtype() == DType::F64;
    let fit = Fit { double, ..Fit::known(&spec.sample_shape, spec.domain, facts) };
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    set.each(model.batch(), most.map(|n| n as u64), &fit, &mut |piece| {
        labels.extend(piece.places.iter().filter_map(|(_, i)| all.get(*i as usize)));
        values.extend(piece.values);
        Ok(())
    })?;
    let dims = [&[labels.len()], model.sample_shape()].concat();
    let x = Tensor::from_vec(values, dims, &Device::Cpu).map_err(ebm_core::Error::from)?;
    Ok(Classified { x, labels, names })
}

fn without_labels(set: &Inputs, column: Option<&str>) -> Error {
    let mut message = String::from(
        "has no labels, wanted labelled samples: a linked kind, with labels = true where that is a setting",
    );
    if let Some(column) = column {
        message.push_str(&format!(", or a table with the column `{column}`"));
    }
    Error::unfit(set.name(), message)
}

/// Samples of each class, and how many of them the most likely class is right of.
fn by_class(probabilities: &Features, labels: &[u32], names: &[String]) -> Vec<(String, usize, usize)> {
    let name = |k: usize| names.get(k).cloned().unwrap_or_else(|| k.to_string());
    let mut all: Vec<(String, usize, usize)> = (0..probabilities.d()).map(|k| (name(k), 0, 0)).collect();
    for (i, label) in labels.iter().enumerate() {
        let row = probabilities.row(i);
        let top = (0..row.len()).fold(0, |best, k| if row[k] > row[best] { k } else { best });
        let own = &mut all[*label as usize];
        own.1 += 1;
        own.2 += usize::from(top == *label as usize);
    }
    all
}

/// Probabilities from logits.
fn softmax(logits: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let top = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    let all: Vec<f64> = logits.map(|l| (l - top).exp()).collect();
    let sum: f64 = all.iter().sum();
    all.into_iter().map(|p| p / sum).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn classes_are_counted_by_their_most_likely_one() {
        let rows = [vec![0.0, 2.0], vec![1.0, 0.0], vec![3.0, 0.0]];
        let data: Vec<f64> = rows.iter().flat_map(|r| softmax(r.iter().copied())).collect();
        assert!((data[1] - 1.0 / (1.0 + (-2f64).exp())).abs() < 1e-15);
        let p = Features::new(data, 3, 2).unwrap();
        let counted = by_class(&p, &[1, 1, 0], &["cat".into()]);
        assert_eq!(counted, [("cat".into(), 1, 1), ("1".into(), 2, 1)]);
    }
}
