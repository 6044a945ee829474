//! Energies over energies, closed under the five calls: sum, soft-min, frozen, conditioned.

mod conditioned;
mod frozen;
mod soft_min;
mod sum;

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;

use crate::energy::outline::OutlinePart;
use crate::{Batch, Condition, EnergyFn, EnergySpec, Error, Exactness, ParamSet, Result};

pub use conditioned::Conditioned;
pub use frozen::Frozen;
pub use soft_min::SoftMin;
pub use sum::Sum;

/// A named part of a composed energy.
#[derive(Clone)]
pub struct Part {
    /// Prefix of the part's parameters and terms.
    pub name: String,
    /// Factor α of its energy; negative for "not".
    pub weight: f64,
    /// The energy.
    pub energy: Arc<dyn EnergyFn>,
}

impl Part {
    /// A part of weight 1.
    pub fn new(name: impl Into<String>, energy: Arc<dyn EnergyFn>) -> Self {
        Part { name: name.into(), weight: 1.0, energy }
    }

    /// The same part with factor `weight`.
    #[must_use]
    pub fn weighted(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }
}

/// Spec fields that a composition inherits from its parts; checks that the parts agree.
fn common_spec(kind: &str, parts: &[Part], terms: Vec<String>) -> Result<EnergySpec> {
    let Some(first) = parts.first() else {
        return Err(Error::config(kind, "has no parts; give it at least one energy"));
    };
    let mut spec = first.energy.spec().clone();
    for part in &parts[1..] {
        let other = part.energy.spec();
        if other.sample_shape != spec.sample_shape {
            return Err(Error::shape(
                format!("{kind}.{}", part.name),
                &other.sample_shape,
                format!("{:?} like part `{}`", spec.sample_shape, first.name),
                "parts see the same samples; put a part of another resolution behind `pull-back`",
            ));
        }
        spec.condition = match (spec.condition, other.condition) {
            (Condition::None, c) | (c, Condition::None) => c,
            (Condition::Required(a), Condition::Required(b) | Condition::Optional(b))
            | (Condition::Optional(b), Condition::Required(a))
                if a == b =>
            {
                Condition::Required(a)
            }
            (Condition::Optional(a), Condition::Optional(b)) if a == b => Condition::Optional(a),
            (a, b) => {
                return Err(Error::config(
                    format!("{kind}.{}", part.name),
                    format!("takes condition {b:?}, the parts before it {a:?}; wrap parts in `conditioned`"),
                ));
            }
        };
        spec.domain = spec.domain.common(other.domain).ok_or_else(|| {
            Error::config(
                format!("{kind}.{}", part.name),
                format!(
                    "is an energy of {}, and the parts before it of {}; parts see the same samples",
                    other.domain, spec.domain
                ),
            )
        })?;
        if other.exactness == Exactness::CentralDifferences {
            spec.exactness = Exactness::CentralDifferences;
        }
    }
    spec.terms = terms;
    Ok(spec)
}

fn merged_params(parts: &[Part]) -> Result<ParamSet> {
    ParamSet::merge(parts.iter().map(|p| (p.name.as_str(), p.energy.params())))
}

fn prefixed(name: &str, grads: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    grads.into_iter().map(|(k, v)| (format!("{name}.{k}"), v)).collect()
}

fn prefixed_buffers(parts: &[Part]) -> Result<BTreeMap<String, Tensor>> {
    let mut all = BTreeMap::new();
    for p in parts {
        all.extend(prefixed(&p.name, p.energy.refreshed_buffers()?));
    }
    Ok(all)
}

fn outlines(parts: &[Part]) -> Result<Vec<OutlinePart>> {
    let of =
        |p: &Part| Ok(OutlinePart { name: p.name.clone(), weight: p.weight, energy: p.energy.outline()? });
    parts.iter().map(of).collect()
}

fn no_terms(at: &Batch) -> Result<Tensor> {
    Ok(Tensor::zeros((at.len(), 0), at.dtype(), at.device())?)
}

fn describe(kind: &str, parts: &[Part]) -> String {
    let list: Vec<String> = parts.iter().map(|p| format!("{}: {}", p.name, p.energy.engine())).collect();
    format!("{kind} of {}", list.join("; "))
}

fn layers(parts: &[Part], batch: usize) -> String {
    let of = |p: &Part| match p.energy.layers(batch) {
        text if text.is_empty() => text,
        text => format!("{}:\n{text}", p.name),
    };
    parts.iter().map(of).collect()
}
