//! Scores of single samples from an energy: high for what is unlike the training data.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use ebm_core::host;
use ebm_core::{Batch, EnergyFn, EnergySpec};
use ebm_model::Facts;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::inputs::fit::Fit;
use crate::inputs::set::{Inputs, Piece};
use crate::model::energies::{tell, without_condition};
use crate::model::open::Model;

/// The names of scores.
const SCORES: &str = "energy, grad-norm, typicality, or term.NAME";

/// Samples that the mean energy of typicality is taken over at most.
pub(crate) const TYPICAL: u64 = 10_000;

/// A score of a sample; all are higher for what is more outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ScoreKind {
    /// `E(x)`: minus the unnormalised log density (the score of Du et al. 2021 with its sign turned).
    Energy,
    /// One term of the energy, such as a scale of a multi-scale net or a part of a composition.
    Term(String),
    /// `|∇ₓE(x)|`: samples of the model lie where the slope is small (Grathwohl et al. 2020, "approximate mass").
    GradNorm,
    /// `|E(x) - m|` with `m` the mean energy of data that the model knows: the typicality test of Nalisnick et al. 2019
    /// for one sample.
    Typicality,
}

impl fmt::Display for ScoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScoreKind::Energy => f.write_str("energy"),
            ScoreKind::Term(name) => write!(f, "term.{name}"),
            ScoreKind::GradNorm => f.write_str("grad-norm"),
            ScoreKind::Typicality => f.write_str("typicality"),
        }
    }
}

impl From<ScoreKind> for String {
    fn from(kind: ScoreKind) -> Self {
        kind.to_string()
    }
}

impl TryFrom<String> for ScoreKind {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        match text.as_str() {
            "energy" => Ok(ScoreKind::Energy),
            "grad-norm" => Ok(ScoreKind::GradNorm),
            "typicality" => Ok(ScoreKind::Typicality),
            other => match other.strip_prefix("term.") {
                Some(name) => Ok(ScoreKind::Term(name.into())),
                None => Err(format!("`{text}` is no score, wanted {SCORES}")),
            },
        }
    }
}

impl ScoreKind {
    /// The scores that `names` ask for; `terms` stands for each term of the energy, and is left out where there is but one.
    ///
    /// # Errors
    /// If a name is none, or the energy has no such term.
    pub fn parse(names: &[String], spec: &EnergySpec) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for name in names {
            if name == "terms" {
                if spec.terms.len() > 1 {
                    all.extend(spec.terms.iter().cloned().map(ScoreKind::Term));
                }
                continue;
            }
            let kind =
                ScoreKind::try_from(name.clone()).map_err(|_| Error::invalid("scores", name, SCORES))?;
            if let ScoreKind::Term(term) = &kind
                && !spec.terms.contains(term)
            {
                return Err(Error::invalid(
                    "scores",
                    name,
                    format!("one of the energy's terms, {}", spec.terms.join(", ")),
                ));
            }
            all.push(kind);
        }
        let mut seen = Vec::new();
        all.retain(|k| {
            !seen.contains(k) && {
                seen.push(k.clone());
                true
            }
        });
        if all.is_empty() {
            return Err(Error::missing(&["scores"], "wanted at least one"));
        }
        Ok(all)
    }
}

/// Energies and scores of a piece.
pub(crate) struct Scored {
    /// Energy of each sample.
    pub energy: Vec<f64>,
    /// Terms of each sample.
    pub terms: Vec<Vec<f64>>,
    /// Norm of the gradient of each sample; empty if not asked for.
    pub grad_norm: Vec<f64>,
}

/// Computes scores with the weights that samples are drawn from.
pub(crate) struct Scorer {
    energy: Arc<dyn EnergyFn>,
    dtype: DType,
    device: Device,
    slope: bool,
    facts: Facts,
}

impl Scorer {
    /// Scores by the energy of samples without a condition ([`without_condition`]).
    pub fn new(model: &Model, kinds: &[ScoreKind]) -> Result<Self> {
        let (dtype, device) = (model.dtype(), model.device().clone());
        let slope = kinds.contains(&ScoreKind::GradNorm);
        tell(model);
        let facts = model.facts().clone();
        Ok(Scorer { energy: without_condition(model)?, dtype, device, slope, facts })
    }

    pub fn spec(&self) -> &EnergySpec {
        self.energy.spec()
    }

    pub fn fit(&self, resize: bool) -> Fit {
        let double = self.dtype == DType::F64;
        let spec = self.spec();
        Fit { resize, double, ..Fit::known(&spec.sample_shape, spec.domain, &self.facts) }
    }

    /// The samples of a piece.
    pub fn batch(&self, piece: &Piece) -> Result<Batch> {
        let mut dims = vec![piece.len()];
        dims.extend(&self.spec().sample_shape);
        let x = match self.dtype {
            DType::F32 => Tensor::from_vec(piece.floats(), dims, &Device::Cpu),
            _ => Tensor::from_vec(piece.values.clone(), dims, &Device::Cpu),
        };
        let x =
            x.and_then(|t| t.to_dtype(self.dtype)?.to_device(&self.device)).map_err(ebm_core::Error::from)?;
        Ok(Batch::new(x)?)
    }

    /// `∇ₓE` of each sample, flattened.
    pub fn slopes(&self, at: &Batch) -> Result<Vec<Vec<f64>>> {
        rows(self.energy.slope(at)?.grad)
    }

    /// `∇²E·v` of each sample, flattened, with its row of `v` `(B, ...)`.
    pub fn products(&self, at: &Batch, v: &Tensor) -> Result<Vec<Vec<f64>>> {
        rows(self.energy.hvp(at, v)?)
    }

    pub fn score(&self, piece: &Piece) -> Result<Scored> {
        self.score_at(piece, &self.batch(piece)?)
    }

    /// The same for a piece whose batch was made.
    pub fn score_at(&self, piece: &Piece, at: &Batch) -> Result<Scored> {
        let terms = rows(self.energy.terms(at)?)?;
        let energy: Vec<f64> = terms.iter().map(|t| t.iter().sum()).collect();
        let mut grad_norm = Vec::new();
        if self.slope {
            grad_norm =
                self.slopes(at)?.iter().map(|g| g.iter().map(|v| v * v).sum::<f64>().sqrt()).collect();
        }
        for (values, what) in [(&energy, "energy"), (&grad_norm, "gradient")] {
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                let (file, index) = &piece.places[at];
                let what = format!("{what} of sample {index} of {}", file.display());
                let message = format!("is {}; are the model's weights finite?", values[at]);
                return Err(ebm_core::Error::numeric(what, 0, message).into());
            }
        }
        Ok(Scored { energy, terms, grad_norm })
    }

    /// Mean energy of at most `most` samples of a set.
    pub fn mean_energy(&self, set: &Inputs, rows: usize, most: u64) -> Result<f64> {
        let (mut sum, mut n) = (0.0, 0u64);
        set.each(rows, Some(most), &self.fit(false), &mut |piece| {
            let scored = self.score(&piece)?;
            sum += scored.energy.iter().sum::<f64>();
            n += piece.len() as u64;
            Ok(())
        })?;
        Ok(sum / n as f64)
    }

    /// The values of one score; `mean` is that of typicality.
    pub fn column(&self, kind: &ScoreKind, scored: &Scored, mean: Option<f64>) -> Vec<f64> {
        match kind {
            ScoreKind::Energy => scored.energy.clone(),
            ScoreKind::Term(name) => {
                let at = self.spec().terms.iter().position(|t| t == name).unwrap_or(0);
                scored.terms.iter().map(|t| t[at]).collect()
            }
            ScoreKind::GradNorm => scored.grad_norm.clone(),
            ScoreKind::Typicality => scored.energy.iter().map(|e| (e - mean.unwrap_or(0.0)).abs()).collect(),
        }
    }
}

/// The numbers `(B, ...)` of each row.
fn rows(t: Tensor) -> Result<Vec<Vec<f64>>> {
    let rows = t.flatten_from(1).and_then(|t| host::wide(&t)?.to_vec2::<f64>());
    Ok(rows.map_err(ebm_core::Error::from)?)
}

/// The set whose mean energy typicality is measured from: the held-out part of a run's data, or its training part.
///
/// # Errors
/// If the data cannot be read.
pub(crate) fn reference(model: &Model) -> Result<Inputs> {
    let data = model.data()?;
    Ok(Inputs::held_out(data, "inside").unwrap_or_else(|_| Inputs::training(data)))
}
