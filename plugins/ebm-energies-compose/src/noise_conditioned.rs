//! `noise-conditioned`: one energy for data at every level of noise, which its condition says.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use ebm_core::candle::{Device, Tensor};
use ebm_core::host;
use ebm_core::operators::Identity;
use ebm_core::{
    Batch, BuildCx, Condition, EnergyConfig, EnergyFn, EnergySpec, Error, Formula, Outline, ParamSet, Result,
    Role, Settings, Slope, ThetaGrad, WeightFn, centre_and_spread, per_row, plugin, row_sum,
};

/// Sines, and as many cosines, of the logarithm of the noise level.
const WAVES: usize = 8;
/// Length of the condition that the network sees.
pub const FEATURES: usize = 2 * WAVES;
/// The buffer of the data's mean.
const MEAN: &str = "mean";
/// The buffer of the deviation d of their values.
const SPREAD: &str = "spread";
/// The network's part of the parameters.
const NET: &str = "net";

/// `E(x | σ) = |x − m|²/2(σ² + d²) + (d/σ) n(z, c)` with `z = (x − m)/√(σ² + d²)` for data of mean m and deviation d a value.
///
/// The first term is the energy of normal data with noise of deviation σ; the network n says what is more, and the factors give it
/// arguments and slopes of unit size at every level (Karras, Aittala, Aila, Laine 2022, table 1, with the scalar in place of the
/// denoiser: Salimans, Ho 2021). c are eight sines and eight cosines of `log(σ/d)`. The condition is σ; without one the energy is
/// that of `level`, so that all that takes a plain energy takes this one. m and d are buffers, set from the data of the run.
pub struct NoiseConditioned {
    net: Arc<dyn EnergyFn>,
    level: f64,
    spec: EnergySpec,
    params: ParamSet,
    identity: Identity,
}

/// A batch as the network sees it, with what its energies and slopes are multiplied by: `(B,)`.
struct Seen {
    at: Batch,
    /// `x − m`.
    off: Tensor,
    /// `1/√(σ² + d²)`.
    scale: Tensor,
    /// `d/σ`.
    gain: Tensor,
}

impl NoiseConditioned {
    /// Around `net`, which takes a condition of [`FEATURES`] numbers, for data of mean `mean` (the shape of a sample) and deviation `spread`.
    ///
    /// # Errors
    /// If the network takes another condition, the mean has another shape, or a number is not positive.
    pub fn new(net: Arc<dyn EnergyFn>, mean: &Tensor, spread: f64, level: f64) -> Result<Self> {
        let mut spec = net.spec().clone();
        if spec.condition.length() != Some(FEATURES) {
            let message = format!(
                "takes {}, wanted a condition of length {FEATURES}, the noise level in sines and cosines: set `conditional` to true",
                match spec.condition.length() {
                    None => "no condition".into(),
                    Some(n) => format!("a condition of length {n}"),
                }
            );
            return Err(Error::config("energy", message));
        }
        if mean.dims() != spec.sample_shape {
            let want = format!("{:?} like a sample", spec.sample_shape);
            return Err(Error::shape("mean", mean.dims(), want, "give the mean of the samples"));
        }
        for (name, value) in [(SPREAD, spread), ("level", level)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::config(name, format!("is {value}, must be positive and finite")));
            }
        }
        let dtype =
            net.params().names().find_map(|n| net.params().get(n)).map_or(mean.dtype(), Tensor::dtype);
        let spread = host::given(&[spread], dtype, mean.device())?;
        let own = ParamSet::new([
            (MEAN.to_string(), mean.to_dtype(dtype)?, Role::Buffer),
            (SPREAD.to_string(), spread, Role::Buffer),
        ])?;
        let params = ParamSet::merge([("", &own), (NET, net.params())])?;
        (spec.condition, spec.terms) = (Condition::Optional(1), vec!["energy".into()]);
        Ok(NoiseConditioned { net, level, spec, params, identity: Identity::new() })
    }

    fn buffer(&self, name: &str) -> Result<&Tensor> {
        self.params.frozen().get(name)
    }

    fn seen(&self, at: &Batch) -> Result<Seen> {
        self.spec.check("noise-conditioned", at)?;
        let (rows, dtype) = (at.len(), at.dtype());
        let spread = self.buffer(SPREAD)?.to_dtype(dtype)?;
        let level = match &at.cond {
            Some(c) => c.to_dtype(dtype)?.flatten_all()?,
            None => host::given(&[self.level], dtype, at.device())?.broadcast_as(rows)?.contiguous()?,
        };
        let variance = level.sqr()?.broadcast_add(&spread.sqr()?)?;
        let scale = variance.sqrt()?.recip()?;
        let off = at.x.broadcast_sub(&self.buffer(MEAN)?.to_dtype(dtype)?)?;
        // Octaves of 0.7 from 1/4 on: the slowest turns once over all levels of use, the fastest tells neighbours apart.
        let rates: Vec<f64> = (0..WAVES as i32).map(|k| 0.25 * 1.6f64.powi(k)).collect();
        let rates = host::given(&rates, dtype, at.device())?.unsqueeze(0)?;
        let angles = level.broadcast_div(&spread)?.log()?.unsqueeze(1)?.broadcast_mul(&rates)?;
        let features = Tensor::cat(&[angles.sin()?, angles.cos()?], 1)?;
        let x = off.broadcast_mul(&per_row(&scale, &off)?)?;
        let gain = level.recip()?.broadcast_mul(&spread)?;
        Ok(Seen { at: at.with_x(x).with_cond(Some(features)), off, scale, gain })
    }
}

impl Seen {
    /// The same of some rows.
    fn rows(&self, rows: Range<usize>) -> Result<Self> {
        let of = |t: &Tensor| t.narrow(0, rows.start, rows.len());
        let at = self.at.narrow(rows.start, rows.len())?;
        Ok(Seen { at, off: of(&self.off)?, scale: of(&self.scale)?, gain: of(&self.gain)? })
    }

    /// `|x − m|²/2(σ² + d²)`, `(B,)`.
    fn bowl(&self) -> Result<Tensor> {
        Ok(row_sum(&self.at.x.sqr()?)?.affine(0.5, 0.0)?)
    }

    /// Energies `(B, 1)` from the terms of the network `(B, T)`.
    fn energies(&self, terms: &Tensor) -> Result<Tensor> {
        Ok((self.bowl()? + (terms.sum(1)? * &self.gain)?)?.unsqueeze(1)?)
    }

    /// `t` `(B, ...)` times one factor a row.
    fn times(t: &Tensor, factor: &Tensor) -> Result<Tensor> {
        Ok(t.broadcast_mul(&per_row(factor, t)?)?)
    }
}

fn prefixed(grads: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    grads.into_iter().map(|(name, g)| (format!("{NET}.{name}"), g)).collect()
}

impl EnergyFn for NoiseConditioned {
    fn spec(&self) -> &EnergySpec {
        &self.spec
    }

    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        let seen = self.seen(at)?;
        seen.energies(&self.net.terms(&seen.at)?)
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        let seen = self.seen(at)?;
        let inner = self.net.slope(&seen.at)?;
        let energy = (seen.bowl()? + (inner.energy * &seen.gain)?)?;
        let own = Seen::times(&seen.off, &seen.scale.sqr()?)?;
        let grad = (own + Seen::times(&inner.grad, &(&seen.scale * &seen.gain)?)?)?;
        Ok(Slope { energy, grad })
    }

    /// Levels are read where the condition lies, mean and deviation where the parameters do.
    fn identity(&self) -> Option<Identity> {
        self.identity.with([self.net.identity()])
    }

    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        let seen = self.seen(at)?;
        let weights = w.borrowed().around(|rows, terms, w| {
            let seen = seen.rows(rows)?;
            let weights = (w(&seen.energies(terms)?)?.flatten_all()? * &seen.gain)?;
            Ok(weights.unsqueeze(1)?.broadcast_as(terms.dims())?.contiguous()?)
        });
        let inner = self.net.grad_theta(&seen.at, &weights)?;
        Ok(ThetaGrad { terms: seen.energies(&inner.terms)?, grads: prefixed(inner.grads) })
    }

    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        let seen = self.seen(at)?;
        let v = Seen::times(v, &(&seen.scale * &seen.gain)?)?;
        let grads = prefixed(self.net.grad_theta_slope(&seen.at, &v)?.grads);
        Ok(ThetaGrad { terms: Tensor::zeros((at.len(), 0), at.dtype(), at.device())?, grads })
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        let seen = self.seen(at)?;
        let square = seen.scale.sqr()?;
        let inner = Seen::times(&self.net.hvp(&seen.at, v)?, &(&square * &seen.gain)?)?;
        Ok((Seen::times(v, &square)? + inner)?)
    }

    fn outline(&self) -> Result<Outline> {
        let own = |name: &str| Some((name.to_string(), self.params.get(name)?.clone(), Role::Buffer));
        let python = format!(
            "# |x - m|²/2(σ² + d²) + (d/σ) n((x - m)/√(σ² + d²), c), with σ the condition\n\
             level = x.new_full((len(x),), {:?}) if condition is None else condition.to(x.dtype).reshape(-1)\n\
             scale = (level.square() + self.spread.square()).rsqrt()\n\
             z = (x - self.mean) * scale.reshape((-1,) + (1,) * (x.dim() - 1))\n\
             rates = x.new_tensor([0.25 * 1.6 ** k for k in range({WAVES})])\n\
             angles = (level / self.spread).log().unsqueeze(1) * rates\n\
             features = torch.cat([angles.sin(), angles.cos()], 1)\n\
             return 0.5 * z.flatten(1).square().sum(1) + self.spread / level * self.net(z, features)",
            self.level
        );
        let tensors = [MEAN, SPREAD].iter().filter_map(|name| own(name)).collect();
        let parts = vec![(NET.to_string(), self.net.outline()?)];
        Ok(Outline::Formula(Formula { name: "noise-conditioned".into(), tensors, parts, python }))
    }

    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(prefixed(self.net.refreshed_buffers()?))
    }

    fn engine(&self) -> String {
        format!("noise-conditioned {}", self.net.engine())
    }

    fn layers(&self, batch: usize) -> String {
        self.net.layers(batch)
    }
}

/// Settings of `noise-conditioned`.
#[derive(Debug, Settings)]
pub struct NoiseConditionedSettings {
    /// The network, an energy with `conditional = true`: its condition is the noise level in sines and cosines.
    pub energy: Box<dyn EnergyConfig>,
    /// Noise level of the energy where nobody says one: in scores, compositions, chains. Its samples are the data with noise of
    /// this deviation.
    #[setting(default = 0.05, above = 0.0, unit = "units of the data")]
    pub level: f64,
}

#[plugin(
    "noise-conditioned",
    summary = "an energy for data at every noise level, its condition: preconditioned, with a quadratic term",
    source = "Song, Ermon 2019; Salimans, Ho 2021; Karras, Aittala, Aila, Laine 2022, table 1",
    example = "level = 0.05\nenergy = { kind = \"mlp\", hidden = [16], conditional = true }"
)]
impl EnergyConfig for NoiseConditionedSettings {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let shape = cx.sample_shape().to_vec();
        let net = cx.part_under(NET, "energy", &shape, FEATURES, &*self.energy)?;
        let known = match cx.data() {
            Some(data) => centre_and_spread(data.as_ref())?,
            None => None,
        };
        let (mean, spread) = match (known, cx.range()) {
            (Some(known), _) => known,
            // Placeholders for a checkpoint's buffers: data all over their range.
            (None, range) => {
                let (low, high) = range.unwrap_or((-1.0, 1.0));
                let middle = Tensor::full((low + high) / 2.0, shape.as_slice(), &Device::Cpu)?;
                (host::wide(&middle)?, (high - low) / 12f64.sqrt())
            }
        };
        let mean = mean.to_dtype(cx.dtype())?.to_device(cx.device())?;
        let built = NoiseConditioned::new(net, &mean, spread, self.level);
        Ok(Arc::new(built.map_err(|e| e.within(cx.path()))?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::DType;
    use ebm_core::{Chains, Key};
    use ebm_energies_net as _;
    use ebm_testkit::check_energy;

    use super::*;

    fn built(energy: &str) -> Result<Arc<dyn EnergyFn>> {
        let text = format!("kind = 'noise-conditioned'\nlevel = 0.3\nenergy = {{ {energy} }}");
        let config: Box<dyn EnergyConfig> = toml::from_str(&text).unwrap();
        let cx = BuildCx::new(&[3], DType::F64, &Device::Cpu, Key::root(0));
        config.build(&mut cx.with_range(Some((0.0, 1.0))))
    }

    fn net() -> Arc<dyn EnergyFn> {
        built("kind = 'mlp', hidden = [7, 6], conditional = true").unwrap()
    }

    fn at(seed: u64) -> Batch {
        let x = Key::root(seed).normal(&Chains::range(0, 4), &[3], DType::F64, &Device::Cpu).unwrap();
        Batch::new(x).unwrap()
    }

    fn levels(all: [f64; 4]) -> Option<Tensor> {
        Some(Tensor::new(&all, &Device::Cpu).unwrap().unsqueeze(1).unwrap())
    }

    #[test]
    fn the_laws_of_an_energy_hold_at_levels_of_its_rows_and_at_its_own() {
        let e = net();
        check_energy(e.as_ref(), &at(1)).unwrap();
        check_energy(e.as_ref(), &at(1).with_cond(levels([0.01, 0.4, 3.0, 40.0]))).unwrap();
        assert!(!e.params().trainable().any(|name| name == MEAN || name == SPREAD));
    }

    #[test]
    fn without_a_condition_the_level_is_that_of_the_settings() {
        let e = net();
        let energies = |at: &Batch| e.energy(at).unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(energies(&at(1)), energies(&at(1).with_cond(levels([0.3; 4]))));
        assert_ne!(energies(&at(1)), energies(&at(1).with_cond(levels([0.31; 4]))));
    }

    #[test]
    fn far_above_the_data_it_is_the_energy_of_the_noise() {
        let (e, far) = (net(), 1e4);
        let x = at(2).x.affine(far, 0.0).unwrap();
        let g = e.slope(&at(2).with_x(x.clone()).with_cond(levels([far; 4]))).unwrap().grad;
        let want = x.affine(1.0 / (far * far), 0.0).unwrap();
        // The mean, the deviation and the network are some 1e-4 of it.
        assert!(ebm_testkit::relative_gap(&g, &want).unwrap() < 1e-3);
    }

    #[test]
    fn a_network_without_a_condition_is_refused_by_name() {
        let text = built("kind = 'mlp', hidden = [7]").map(|_| ()).unwrap_err().to_string();
        assert!(text.contains("energy") && text.contains("conditional"), "{text}");
    }
}
