//! Which values the coordinates of a sample take.

use std::fmt;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::bounds::at_most;
use crate::{Chains, Error, Key, Result};

/// The values that a sample's coordinates take: what moves of chains must keep to, where chains start, and what data are
/// held against.
///
/// ```
/// use ebm_core::Domain;
/// assert!(Domain::Spins.is_discrete() && !Domain::Real.is_discrete());
/// assert_eq!(Domain::Binary.outside(&[0.0, 1.0, 0.5], 1), 1);
/// assert_eq!(Domain::Categorical(2).outside(&[0.0, 1.0, 1.0, 1.0], 4), 1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Domain {
    /// Any real numbers.
    #[default]
    Real,
    /// Real numbers between these, ends included.
    Box(f64, f64),
    /// 0 or 1.
    Binary,
    /// −1 or +1.
    Spins,
    /// One of so many states: one-hot vectors along the last axis.
    Categorical(usize),
}

impl Domain {
    /// That of data whose values are in `range`, if it is known.
    pub fn of_range(range: Option<(f64, f64)>) -> Self {
        range.map_or(Domain::Real, |(low, high)| Domain::Box(low, high))
    }

    /// Whether there are no values between two of them.
    pub fn is_discrete(self) -> bool {
        matches!(self, Domain::Binary | Domain::Spins | Domain::Categorical(_))
    }

    /// The smallest and the largest value, if there are such.
    pub fn range(self) -> Option<(f64, f64)> {
        match self {
            Domain::Real => None,
            Domain::Box(low, high) => Some((low, high)),
            Domain::Binary | Domain::Categorical(_) => Some((0.0, 1.0)),
            Domain::Spins => Some((-1.0, 1.0)),
        }
    }

    /// Values of one coordinate, or of one site: 2 of spins, the number of states; none where they are not discrete.
    pub fn states(self) -> Option<usize> {
        match self {
            Domain::Real | Domain::Box(..) => None,
            Domain::Binary | Domain::Spins => Some(2),
            Domain::Categorical(k) => Some(k),
        }
    }

    /// The domain of samples that two parts of an energy share: the narrower one, if one holds the other.
    pub fn common(self, other: Domain) -> Option<Domain> {
        match (self, other) {
            (Domain::Real, d) | (d, Domain::Real) => Some(d),
            (Domain::Box(a, b), Domain::Box(c, d)) => Some(Domain::Box(a.max(c), b.min(d))),
            (Domain::Box(a, b), d) | (d, Domain::Box(a, b)) => {
                d.range().filter(|(low, high)| a <= *low && *high <= b).map(|_| d)
            }
            (a, b) => (a == b).then_some(a),
        }
    }

    /// How many of these values, of samples of which `sample` make one, are none of the domain; of one-hot vectors how many
    /// sites.
    pub fn outside(self, values: &[f32], sample: usize) -> usize {
        let count = |bad: &dyn Fn(f32) -> bool| values.iter().filter(|v| bad(**v)).count();
        match self {
            Domain::Real => 0,
            Domain::Box(low, high) => count(&|v| !(low..=high).contains(&f64::from(v))),
            Domain::Binary => count(&|v| v != 0.0 && v != 1.0),
            Domain::Spins => count(&|v| v != -1.0 && v != 1.0),
            Domain::Categorical(k) if k == 0 || !sample.is_multiple_of(k) => values.len(),
            Domain::Categorical(k) => {
                let hot = |site: &[f32]| {
                    let ones = site.iter().filter(|v| **v == 1.0).count();
                    ones == 1 && site.iter().filter(|v| **v == 0.0).count() == k - 1
                };
                values.chunks(k).filter(|site| !hot(site)).count()
            }
        }
    }

    /// Independent uniform samples `(B, ...)` of the domain; `None` where there is no uniform law.
    ///
    /// # Errors
    /// If `shape` does not end in the number of states, or the tensor cannot be made.
    pub fn uniform(
        self,
        chains: &Chains,
        shape: &[usize],
        dtype: DType,
        device: &Device,
        key: Key,
    ) -> Result<Option<Tensor>> {
        let u = |shape: &[usize]| key.uniform(chains, shape, dtype, device);
        Ok(Some(match self {
            Domain::Real => return Ok(None),
            // The bits of the generator as they are.
            Domain::Box(0.0, 1.0) => u(shape)?,
            Domain::Box(low, high) => u(shape)?.affine(high - low, low)?,
            Domain::Binary => u(shape)?.lt(0.5)?.to_dtype(dtype)?,
            Domain::Spins => u(shape)?.lt(0.5)?.to_dtype(dtype)?.affine(2.0, -1.0)?,
            Domain::Categorical(k) => {
                let Some((_, sites)) = shape.split_last().filter(|(last, _)| **last == k && k > 0) else {
                    return Err(Error::shape(
                        "samples",
                        shape,
                        format!("(..., {k})"),
                        "one-hot vectors stand along the last axis",
                    ));
                };
                // The product may round up to k itself.
                let state = at_most(&u(sites)?.affine(k as f64, 0.0)?.floor()?, (k - 1) as f64)?;
                one_hot(&state, k)?
            }
        }))
    }

    /// Refuses the domain in the name of `who`, whose moves go through real numbers, if it is discrete.
    ///
    /// # Errors
    /// If it is.
    pub fn real_for(self, who: impl Into<String>) -> Result<()> {
        if !self.is_discrete() {
            return Ok(());
        }
        Err(Error::capability(
            who,
            "samples of real numbers",
            format!("an energy of {self}"),
            "use moves of discrete samples, such as `gibbs`, `block-gibbs` or `gibbs-with-gradients`",
        ))
    }

    /// Refuses the domain in the name of `who`, whose moves go from state to state, if it is not discrete.
    ///
    /// # Errors
    /// If it is not.
    pub fn discrete_for(self, who: impl Into<String>) -> Result<()> {
        if self.is_discrete() {
            return Ok(());
        }
        Err(Error::capability(
            who,
            "samples of a discrete domain",
            format!("an energy of {self}"),
            "use what takes real samples, such as `langevin` for moves, or data that are stated to be binary, spins or one-hot",
        ))
    }
}

/// One-hot vectors `(..., k)` of states `(...)` that count from 0, in their dtype.
///
/// # Errors
/// If an operation fails.
pub fn one_hot(states: &Tensor, k: usize) -> Result<Tensor> {
    let all = Tensor::arange(0u32, k as u32, states.device())?.to_dtype(states.dtype())?;
    Ok(states.unsqueeze(states.rank())?.broadcast_eq(&all)?.to_dtype(states.dtype())?)
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Real => write!(f, "real numbers"),
            Domain::Box(low, high) => write!(f, "real numbers in [{low}, {high}]"),
            Domain::Binary => write!(f, "binary values 0 and 1"),
            Domain::Spins => write!(f, "spins -1 and +1"),
            Domain::Categorical(k) => write!(f, "one-hot vectors of {k} states"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn uniform_samples_are_of_the_domain_and_as_often_one_as_another() {
        let chains = Chains::range(5, 4000);
        let draw = |d: Domain, shape: &[usize]| {
            let x = d.uniform(&chains, shape, DType::F32, &Device::Cpu, Key::root(1)).unwrap().unwrap();
            crate::host::singles(&x).unwrap()
        };
        for (domain, shape) in [
            (Domain::Binary, &[2, 3][..]),
            (Domain::Spins, &[6]),
            (Domain::Categorical(3), &[2, 3]),
            (Domain::Box(-2.0, 5.0), &[6]),
        ] {
            let x = draw(domain, shape);
            assert_eq!((x.len(), domain.outside(&x, 6)), (24_000, 0), "{domain}");
        }
        // Of 8000 sites each state has a third: a standard error of 42.
        let x = draw(Domain::Categorical(3), &[2, 3]);
        for state in 0..3 {
            let n = x.iter().skip(state).step_by(3).filter(|v| **v == 1.0).count();
            assert!((n as f64 - 8000.0 / 3.0).abs() < 4.0 * 42.2, "{state}: {n}");
        }
        assert!(
            Domain::Real.uniform(&chains, &[1], DType::F32, &Device::Cpu, Key::root(1)).unwrap().is_none()
        );
        let bad = Domain::Categorical(3).uniform(&chains, &[3, 2], DType::F32, &Device::Cpu, Key::root(1));
        assert!(bad.unwrap_err().to_string().contains("(..., 3)"));
    }

    #[test]
    fn parts_share_the_narrower_domain_or_none() {
        use Domain::{Binary, Box, Categorical, Real, Spins};
        assert_eq!(Real.common(Spins), Some(Spins));
        assert_eq!(Box(0.0, 1.0).common(Binary), Some(Binary));
        assert_eq!(Spins.common(Box(0.0, 1.0)), None);
        assert_eq!(Box(0.0, 2.0).common(Box(-1.0, 1.0)), Some(Box(0.0, 1.0)));
        assert_eq!((Spins.common(Binary), Categorical(3).common(Categorical(4))), (None, None));
    }

    #[test]
    fn a_domain_is_written_and_read_again() {
        for d in [Domain::Real, Domain::Box(-0.5, 2.0), Domain::Binary, Domain::Spins, Domain::Categorical(7)]
        {
            let text = serde_json::to_string(&d).unwrap();
            assert_eq!(serde_json::from_str::<Domain>(&text).unwrap(), d, "{text}");
        }
    }

    #[test]
    fn one_hot_vectors_need_one_one_and_noughts() {
        let d = Domain::Categorical(3);
        assert_eq!(d.outside(&[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.5], 9), 2);
        assert_eq!(d.outside(&[0.0, 1.0, 0.0, 1.0], 4), 4);
    }
}
