//! Objectives for tests of the trainer: contrastive with a KL term, noise contrast, recovery likelihood.

use super::*;

/// Mean energy difference, squared energies, and a KL term through the trail.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestCd {
    #[serde(default)]
    energy_l2: f64,
    #[serde(default)]
    trail: usize,
    #[serde(default)]
    bank: usize,
    #[serde(default)]
    exact: bool,
}

impl ebm_core::settings::Check for TestCd {}

#[typetag::serde(name = "test-cd")]
impl ObjectiveConfig for TestCd {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self.clone()))
    }
}

fn mean(t: &Tensor) -> Result<f64> {
    Ok(t.mean_all()?.to_dtype(DType::F64)?.to_scalar()?)
}

fn total(t: &Tensor) -> Result<f64> {
    Ok(t.sum_all()?.to_dtype(DType::F64)?.to_scalar()?)
}

fn flat(t: &Tensor, w: f64) -> Result<Tensor> {
    Ok((t.ones_like()? * (w / t.elem_count() as f64))?)
}

impl Objective for TestCd {
    fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        needs.samples = true;
        needs.trail = self.trail;
        needs.bank = self.bank;
        needs.bank_above = 10;
        needs.exact = self.exact;
        needs
    }
    fn demands(&self, e: &dyn EnergyFn, input: &StepInput<'_>, _: Key) -> Result<Demands> {
        let drawn = input.drawn.unwrap();
        let (data, samples) = (input.data, &drawn.last.at);
        let mut d = Demands::default();
        d.energy("cd", "data", data, |t| flat(t, 1.0), mean);
        d.energy("cd", "samples", samples, |t| flat(t, -1.0), |t| Ok(-mean(t)?));
        if self.energy_l2 > 0.0 {
            let c = self.energy_l2;
            for (rows, at) in [("data", data), ("samples", samples)] {
                let weight = move |t: &Tensor| Ok((t * (2.0 * c / t.elem_count() as f64))?);
                d.energy("reg", rows, at, weight, move |t| Ok(c * mean(&t.sqr()?)?));
            }
        }
        if self.trail > 0 {
            let u = (e.slope(samples)?.grad / samples.len() as f64)?;
            for s in drawn.trail.pull_back(e, &u)? {
                d.slope("kl", s.at, s.v, 0.0);
            }
        }
        if let Some(bank) = input.bank {
            d.value("ent", mean(bank)?);
        }
        Ok(d)
    }
    fn name(&self) -> String {
        "test-cd".into()
    }
}

/// Data against uniform noise with a learned log Z (its gradient alone is demanded of `test-nce`'s own parameter).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestNce {
    /// Whether the gradient of log Z is demanded under a name that was not declared.
    #[serde(default)]
    wrong: bool,
}

struct Nce(ParamSet, bool);

impl ebm_core::settings::Check for TestNce {}

#[typetag::serde(name = "test-nce")]
impl ObjectiveConfig for TestNce {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Objective>> {
        cx.param("log_z", (1,), Init::Constant(0.5))?;
        Ok(Box::new(Nce(cx.take_params()?, self.wrong)))
    }
}

impl Objective for Nce {
    fn needs(&self) -> Needs {
        Needs::none()
    }
    fn params(&self) -> ParamSet {
        self.0.clone()
    }
    fn portions(&self) -> bool {
        true
    }
    fn demands(&self, _: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let (at, of) = (input.data, input.portion_of(input.data).of as f64);
        let noise = key.at("noise").uniform(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        let both = Batch::cat(&[at, &at.with_x((noise * 4.0)?.affine(1.0, -2.0)?)])?;
        let ones = Tensor::ones(at.len(), at.dtype(), at.device())?;
        let sign = Tensor::cat(&[&ones, &ones.affine(-1.0, 0.0)?], 0)?;
        let (log_z, side) = (self.0.get("log_z").unwrap().clone(), sign.clone());
        let odds = move |t: &Tensor| -> Result<Tensor> {
            Ok((t.sum(1)?.broadcast_add(&log_z)? * &side)?.clamp(-30f32, 30f32)?.exp()?)
        };
        let of_value = odds.clone();
        let pull = move |t: &Tensor| -> Result<Tensor> {
            let odds = odds(t)?;
            Ok(((&odds / (&odds + 1.0)?)? * &sign)?.affine(1.0 / of, 0.0)?)
        };
        let own = pull.clone();
        let mut d = Demands::default();
        let value = move |t: &Tensor| total(&(of_value(t)? + 1.0)?.log()?).map(|sum| sum / of);
        d.energy("test-nce", "pairs", &both, move |t| Ok(pull(t)?.unsqueeze(1)?), value);
        let name = if self.1 { "log_y" } else { "log_z" };
        d.own("test-nce", name, "pairs", &both, move |t| Ok(own(t)?.sum_keepdim(0)?));
        Ok(d)
    }
    fn name(&self) -> String {
        "test-nce".into()
    }
}

/// Contrast against chains of `E + ‖x − y‖²/2σ²` around noisy data `y`, from there: recovery likelihood.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestRecovery {
    sigma: f64,
}

impl ebm_core::settings::Check for TestRecovery {}

#[typetag::serde(name = "test-recovery")]
impl ObjectiveConfig for TestRecovery {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self.clone()))
    }
}

/// `E + ‖x − y‖²/2σ²` for the rows of `y`.
struct Tethered {
    inner: Arc<dyn EnergyFn>,
    y: Tensor,
    sigma: f64,
}

impl EnergyFn for Tethered {
    fn spec(&self) -> &EnergySpec {
        self.inner.spec()
    }
    fn params(&self) -> &ParamSet {
        self.inner.params()
    }
    fn terms(&self, at: &Batch) -> Result<Tensor> {
        let off = (&at.x - &self.y)?.sqr()?.sum_keepdim(1)?.affine(0.5 / self.sigma.powi(2), 0.0)?;
        Ok((self.inner.terms(at)? + off)?)
    }
    fn slope(&self, at: &Batch) -> Result<Slope> {
        let slope = self.inner.slope(at)?;
        let pull = (&at.x - &self.y)?.affine(1.0 / self.sigma.powi(2), 0.0)?;
        Ok(Slope { energy: self.terms(at)?.sum(1)?, grad: (slope.grad + pull)? })
    }
    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        self.inner.grad_theta(at, w)
    }
    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        self.inner.grad_theta_slope(at, v)
    }
    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        Ok((self.inner.hvp(at, v)? + v.affine(1.0 / self.sigma.powi(2), 0.0)?)?)
    }
}

impl TestRecovery {
    fn noisy(&self, data: &Batch, key: Key) -> Result<Tensor> {
        let noise = key.at("noisy").normal(&data.chains, data.sample_shape(), data.dtype(), data.device())?;
        Ok((&data.x + (noise * self.sigma)?)?)
    }
}

impl Objective for TestRecovery {
    fn needs(&self) -> Needs {
        Needs::none().with_own_chains()
    }
    fn portions(&self) -> bool {
        true
    }
    fn chains(&self, e: &Arc<dyn EnergyFn>, data: &Batch, key: Key) -> Result<Option<ChainStart>> {
        let y = self.noisy(data, key)?;
        let energy = Arc::new(Tethered { inner: e.clone(), y: y.clone(), sigma: self.sigma });
        Ok(Some(ChainStart { energy, from: data.with_x(y) }))
    }
    fn demands(&self, _: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let (samples, of) = (&input.drawn.unwrap().last.at, input.portion_of(input.data).of as f64);
        let mut d = Demands::default();
        for (rows, at, sign) in [("data", input.data, 1.0), ("samples", samples, -1.0)] {
            let weight = move |t: &Tensor| Ok(t.ones_like()?.affine(sign / of, 0.0)?);
            d.energy("cd", rows, at, weight, |_| Ok(0.0));
        }
        // How far chains are from the noisy points they are held to, in σ².
        let off = total(&(&samples.x - self.noisy(input.data, key)?)?.sqr()?)?;
        d.value("cd", off / of / self.sigma.powi(2));
        Ok(d)
    }
    fn name(&self) -> String {
        "test-recovery".into()
    }
}
