//! Two sets of samples against each other: can a classifier tell them apart?

use ebm_eval::{ClassifierTest, Features, TestClassifier, classifier_test};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::inputs::set::Inputs;
use crate::measure::samples::Subject;
use crate::tensors::numbers;

/// Samples that are read together.
const TOGETHER: usize = 512;

/// What is compared, and how.
#[derive(Clone, Debug)]
pub struct TwoSampleOptions {
    /// The other set; the held-out part of a model's data without it.
    pub against: Option<String>,
    /// Samples of each set at most: drawn, or at equal distances.
    pub count: usize,
    /// Steps of the generation program; as configured without it.
    pub steps: Option<usize>,
    /// The classifier.
    pub classifier: TestClassifier,
    /// Seed of the halves, and of drawn samples; of these that of the run without it.
    pub seed: Option<u64>,
}

/// The outcome.
#[derive(Clone, Debug, Serialize)]
pub struct TwoSampleReport {
    /// The first set, and how many of it.
    pub samples: (String, usize),
    /// The second.
    pub against: (String, usize),
    /// The classifier.
    pub classifier: TestClassifier,
    /// Accuracy and p-value.
    #[serde(flatten)]
    pub test: ClassifierTest,
}

/// A classifier two-sample test of the values of samples: see [`classifier_test`].
///
/// # Errors
/// If sets cannot be read, do not fit each other, or are too small.
pub fn two_sample(what: &Subject<'_>, options: &TwoSampleOptions) -> Result<TwoSampleReport> {
    let o = options;
    let against = match (&o.against, what) {
        (Some(name), _) => Inputs::open(name)?,
        (None, Subject::Model(model)) => Inputs::held_out(model.data()?, "against")?,
        (None, Subject::Set(_)) => {
            return Err(Error::missing(&["against"], "samples that are there need others to compare with"));
        }
    };
    if let (Subject::Set(_), Some(steps)) = (what, o.steps) {
        return Err(Error::invalid("steps", steps, "a run, which draws its samples; these are there"));
    }
    let shape = match what {
        Subject::Model(model) => model.sample_shape().to_vec(),
        Subject::Set(_) => against.shape()?,
    };
    let width: usize = shape.iter().product();
    let fit = what.fit(&against, &shape);
    let table = |set: &Inputs| -> Result<Features> {
        let mut all = Vec::new();
        set.each(TOGETHER, Some(o.count as u64), &fit, &mut |piece| {
            all.extend_from_slice(&piece.values);
            Ok(())
        })?;
        let n = all.len() / width.max(1);
        Ok(Features::new(all, n, width)?)
    };
    let second = table(&against)?;
    let (name, first) = match what {
        Subject::Model(model) => {
            let x = numbers(&model.sample(o.count, o.steps, o.seed)?)?;
            ("the model".to_string(), Features::new(x, o.count, width)?)
        }
        Subject::Set(set) => (set.name().to_string(), table(set)?),
    };
    let test = classifier_test(&first, &second, o.classifier, o.seed.unwrap_or_default())?;
    Ok(TwoSampleReport {
        samples: (name, first.n()),
        against: (against.name().to_string(), second.n()),
        classifier: o.classifier,
        test,
    })
}
