//! `label`: how well the energies of one sample under all labels tell its own.

use ebm_core::candle::{D, Tensor};
use ebm_core::{
    Batch, BuildCx, Condition, Demands, EnergyFn, Error, Key, Needs, Objective, ObjectiveConfig, Result,
    Settings, StepInput, plugin,
};

use crate::numbers::sum;

/// Cross-entropy of each datum's label under softmax(−E(x, c)/temperature).
///
/// `weight · mean −log p(c | x)` over the data, where `p(c | x) = exp(−E(x, c)/T) / Σ_k exp(−E(x, k)/T)` over all labels
/// k: cross-entropy, in nats (Grathwohl et al. 2020, "Your classifier is secretly an energy based model", equation 6,
/// with labels that are equally frequent).
///
/// Contrastive divergence alone learns a condition only where samples under it go astray; this term compares labels on
/// every image. It costs one gradient in the parameters of as many rows as the batch times the labels, and their memory.
///
/// Reports have `label.accuracy`, the share of the batch whose own label is the most likely one, and `label.confidence`, the mean
/// probability of the most likely one: as large where probabilities are calibrated. `ebm eval classes` has both on held-out
/// data, and the calibration error.
#[derive(Clone, Debug, Settings)]
pub struct LabelTerm {
    /// Coefficient.
    #[setting(default = 1.0, at_least = 0.0)]
    pub weight: f64,
    /// T: the energy differences between labels that the term asks for are some multiples of it. Runs whose chains are
    /// colder than exp(−E), as the published program's are, have small energies and want a small one.
    #[setting(default = 1.0, above = 0.0)]
    pub temperature: f64,
}

/// The labels `(B, L)` of data that the energy takes, with the number of them.
fn labels<'a>(e: &dyn EnergyFn, data: &'a Batch) -> Result<(&'a Tensor, usize)> {
    let missing = |what: &str, lacking: String| {
        Err(Error::capability(
            "objective `label`",
            what,
            lacking,
            "use labelled data and a conditional energy, or remove the label term",
        ))
    };
    let Some(own) = &data.cond else { return missing("labelled data", "the data".into()) };
    let (_, labels) = own.dims2()?;
    if labels < 2 {
        return missing("at least two labels", format!("the data with {labels}"));
    }
    if e.spec().condition == Condition::None {
        return missing("an energy that takes the condition", "the energy".into());
    }
    Ok((own, labels))
}

impl Objective for LabelTerm {
    fn needs(&self) -> Needs {
        Needs::none().with_labels()
    }

    fn portions(&self) -> bool {
        true
    }

    fn demands(&self, e: &dyn EnergyFn, input: &StepInput<'_>, _: Key) -> Result<Demands> {
        let (data, rows) = (input.data, input.data.len());
        let (own, labels) = labels(e, data)?;
        let mut demands = Demands::default();
        if self.weight == 0.0 {
            return Ok(demands);
        }
        // Row b·L + k is sample b under label k.
        let x = data.x.unsqueeze(1)?;
        let x =
            x.broadcast_as([&[rows, labels], data.sample_shape()].concat())?.contiguous()?.flatten(0, 1)?;
        let every = Tensor::eye(labels, own.dtype(), own.device())?;
        let cond = every.unsqueeze(0)?.broadcast_as((rows, labels, labels))?.contiguous()?.flatten(0, 1)?;
        let at = Batch::new(x)?.with_cond(Some(cond));
        let t = self.temperature;
        let log_p = move |terms: &Tensor| -> Result<Tensor> {
            let logits = terms.sum(D::Minus1)?.reshape((rows, labels))?.affine(-1.0 / t, 0.0)?;
            let top = logits.max_keepdim(1)?;
            let logits = logits.broadcast_sub(&top)?;
            Ok(logits.broadcast_sub(&logits.exp()?.sum_keepdim(1)?.log()?)?)
        };
        let of = input.portion_of(data).of.max(1) as f64;
        let own_class = own.argmax(D::Minus1)?;
        let right = move |terms: &Tensor| -> Result<f64> {
            let taken = log_p(terms)?.argmax(D::Minus1)?;
            Ok(sum(&taken.eq(&own_class)?.to_dtype(terms.dtype())?)? / of)
        };
        demands.measure("label", "accuracy", "labels", &at, right);
        let sure = move |terms: &Tensor| Ok(sum(&log_p(terms)?.max(D::Minus1)?.exp()?)? / of);
        demands.measure("label", "confidence", "labels", &at, sure);
        let (wanted, own) = (own.clone(), own.clone());
        let scale = self.weight / input.portion_of(data).of.max(1) as f64;
        demands.energy(
            "label",
            "labels",
            &at,
            move |terms| {
                // d(−Σ_k c_k log p_k)/dE_k = (c_k − p_k)/T, since the c_k add up to one.
                let slope = (&wanted - log_p(terms)?.exp()?)?.affine(scale / t, 0.0)?;
                Ok(slope.reshape((rows * labels, 1))?.broadcast_as(terms.dims())?.contiguous()?)
            },
            move |terms| Ok(-scale * sum(&(log_p(terms)? * &own)?)?),
        );
        Ok(demands)
    }

    fn name(&self) -> String {
        "label".into()
    }
}

#[plugin("label", source = "Grathwohl et al. 2020, equation 6", example = "weight = 1.0\ntemperature = 0.5")]
impl ObjectiveConfig for LabelTerm {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self.clone()))
    }
}
