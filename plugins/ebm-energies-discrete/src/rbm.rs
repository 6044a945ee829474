//! `rbm`: a restricted Boltzmann machine, its hidden units summed over.

mod quick;

use std::collections::BTreeMap;
use std::sync::Arc;

use ebm_core::bounds::clamped;
use ebm_core::candle::{Device, Tensor};
use ebm_core::{
    Batch, BuildCx, Diff, Domain, EnergyConfig, EnergyFn, EnergySpec, Forward, Init, Key, Result, Role,
    Settings, ThetaGrad, View, WeightFn, host, plugin,
};

use self::quick::{Machine, laws, rank_one, scatter};
use crate::known::{Known, Laws};

/// Binary hidden units h over visible ones v, summed over:
///
/// * binary v: `E(v) = −log Σ_h exp(b·v + c·h + v·W·h) = −b·v − Σ_j log(1 + exp(c_j + (v·W)_j))`;
/// * Gaussian v: `E(v) = |v − b|²/2σ² − Σ_j log(1 + exp(c_j + (v·W)_j/σ))`.
///
/// Parameters are `weight` W `(visible, hidden)`, `visible` b and `hidden` c. If it is centred (Montavon, Müller 2012), v and h stand as
/// v − μ and h − λ in the products, with μ the mean of the data in the buffer `offset` and λ in the buffer `centre` following σ(c),
/// the law of the hidden units at μ: the same family in other coordinates, in which plain gradients learn many times
/// faster. The buffer `shift` takes up what a step of λ would change of the law of v. The block Gibbs move draws h from its law given v, then v.
#[derive(Clone, Debug, Settings)]
pub struct Rbm {
    /// Hidden units.
    #[setting(at_least = 1, at_most = 1e6)]
    pub hidden: usize,
    /// Law of the visible units.
    #[setting(default = Visible::Binary)]
    pub visible: Visible,
    /// Standard deviation σ of Gaussian visible units given the hidden ones.
    #[setting(default = 1.0, above = 0.0)]
    pub sd: f64,
    /// Standard deviation of initial weights.
    #[setting(default = 0.01, at_least = 0.0)]
    pub init: f64,
    /// Whether units stand about their means in products; needs data of a binary domain.
    #[setting(default = false)]
    pub centred: bool,
}

/// Law of visible units given hidden ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Settings)]
pub enum Visible {
    /// 0 or 1.
    #[default]
    Binary,
    /// Normal with one deviation.
    Gaussian,
}

/// Share of the way to σ(c) that the centre of the hidden units goes in an update.
const FOLLOWS: f64 = 0.01;

/// Data means are kept this far from 0 and 1.
const EDGE: f64 = 0.01;

#[plugin(
    "rbm",
    summary = "a restricted Boltzmann machine: binary hidden units over binary or Gaussian visible ones",
    source = "Smolensky 1986; Hinton 2002; Salakhutdinov, Murray 2008",
    example = "hidden = 16"
)]
impl EnergyConfig for Rbm {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let n = cx.sample_len();
        cx.param("weight", (n, self.hidden), Init::Normal(self.init))?;
        cx.param("hidden", self.hidden, Init::Constant(0.0))?;
        let mean = cx.mean().filter(|_| self.visible == Visible::Binary).cloned();
        let mean = mean.map(|m| clamped(&m.flatten_all()?, EDGE, 1.0 - EDGE)).transpose()?;
        match &mean {
            // The log odds of the data: what independent units would learn.
            Some(m) => {
                let odds = (m.log()? - m.affine(-1.0, 1.0)?.log()?)?;
                cx.value("visible", &odds, Role::Trainable)?;
            }
            None => cx.param("visible", n, Init::Constant(0.0))?,
        }
        if self.centred {
            let Some(mean) = mean else {
                let message = "is true, but the mean of the data is not known: it needs data of binary values (such as `binary = \"drawn\"` of an image source) and binary visible units";
                return Err(cx.refuse("centred", message));
            };
            cx.value("offset", &mean, Role::Buffer)?;
            cx.value("shift", &mean.zeros_like()?, Role::Buffer)?;
            let centre = Tensor::full(0.5f32, self.hidden, mean.device())?.to_dtype(mean.dtype())?;
            cx.value("centre", &centre, Role::Buffer)?;
        }
        let sd = (self.visible == Visible::Gaussian).then_some(self.sd);
        let domain = if sd.is_some() { Domain::Real } else { Domain::Binary };
        let spec = EnergySpec::new(cx.sample_shape(), &["rbm"]).on(domain);
        let (path, params) = (cx.path().to_string(), cx.take_params()?);
        Ok(Known::build(&path, Units { sd }, spec, params))
    }
}

/// The forward function, by what its parameters are.
#[derive(Clone)]
struct Units {
    /// Deviation of Gaussian visible units.
    sd: Option<f64>,
}

impl Units {
    /// Biases of the visible units, with what the centring of the hidden ones adds.
    fn visible(p: &View) -> Result<Tensor> {
        let visible = p.get("visible")?;
        Ok(if p.has("shift") { (visible + p.get("shift")?)? } else { visible.clone() })
    }

    /// `c + (v − μ)·W/σ`, `(B, hidden)`: log odds of the hidden units.
    fn odds<V: Diff>(&self, p: &View, v: &V) -> Result<V> {
        v.scale(1.0 / self.sd.unwrap_or(1.0))?.matmul(p.get("weight")?)?.shift(p.get("hidden")?)
    }

    /// Visible units as they stand in products.
    fn centred<V: Diff>(p: &View, x: &V) -> Result<V> {
        if p.has("offset") { x.shift(&p.get("offset")?.neg()?) } else { Ok(x.clone()) }
    }
}

impl Forward for Units {
    fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let v = Units::centred(p, &x.flatten()?)?;
        let odds = self.odds(p, &v)?;
        let mut hidden = odds.softplus()?.sum_last()?;
        if p.has("centre") {
            hidden = hidden.minus(&odds.times(p.get("centre")?)?.sum_last()?)?;
        }
        let own = match self.sd {
            None => v.times(&Units::visible(p)?)?.sum_last()?,
            Some(sd) => v.shift(&p.get("visible")?.neg()?)?.square()?.sum_last()?.scale(-0.5 / (sd * sd))?,
        };
        own.plus(&hidden)?.scale(-1.0)
    }

    fn refreshed(&self, p: &View) -> Result<BTreeMap<String, Tensor>> {
        if !p.has("centre") {
            return Ok(BTreeMap::new());
        }
        let (centre, weight) = (p.get("centre")?, p.get("weight")?);
        let step = ((p.get("hidden")?.sigmoid()? - centre)? * FOLLOWS)?;
        let shift = (p.get("shift")? + weight.matmul(&step.unsqueeze(1)?)?.squeeze(1)?)?;
        Ok(BTreeMap::from([("centre".into(), (centre + step)?), ("shift".into(), shift)]))
    }

    fn python(&self) -> Option<String> {
        let own = match self.sd {
            None => "own = (v * visible).sum(1)".to_string(),
            Some(sd) => format!("own = -0.5 * (v - visible).square().sum(1) / {:?}", sd * sd),
        };
        let sd = self.sd.unwrap_or(1.0);
        Some(format!(
            "v, visible, centre = x.flatten(1), self.visible, 0.0\n\
             if hasattr(self, \"offset\"):  # centred units\n    \
                 v, visible, centre = v - self.offset, visible + self.shift, self.centre\n\
             odds = v / {sd:?} @ self.weight + self.hidden\n\
             {own}\n\
             return -(own + (F.softplus(odds) - centre * odds).sum(1))"
        ))
    }
}

impl Laws for Units {
    fn blocks(&self) -> usize {
        1
    }

    fn redraw(&self, p: &View, at: &Batch, _: usize, key: Key) -> Result<Tensor> {
        let uniform = |name: &str, like: &Tensor| -> Result<Tensor> {
            key.at(name).uniform(&at.chains, &like.dims()[1..], at.dtype(), at.device())
        };
        let chance = match self.quick(p, &at.x)? {
            Some((machine, _, mut odds)) => {
                laws(&mut odds, &mut vec![0f32; at.len() * machine.m]);
                Tensor::from_vec(odds, (at.len(), machine.m), &Device::Cpu)?
            }
            None => self.odds(p, &Units::centred(p, &at.x.flatten_from(1)?)?)?.sigmoid()?,
        };
        let hidden = uniform("hidden", &chance)?.lt(&chance)?.to_dtype(at.dtype())?;
        let hidden = match p.has("centre") {
            true => hidden.broadcast_sub(p.get("centre")?)?,
            false => hidden,
        };
        let pull = hidden.matmul(&p.get("weight")?.t()?)?;
        let (visible, dims) = (Units::visible(p)?, at.x.dims());
        Ok(match self.sd {
            None => {
                let chance = pull.broadcast_add(&visible)?.sigmoid()?;
                uniform("visible", &chance)?.lt(&chance)?.to_dtype(at.dtype())?.reshape(dims)?
            }
            Some(sd) => {
                let noise =
                    key.at("visible").normal(&at.chains, &pull.dims()[1..], at.dtype(), at.device())?;
                ((pull + noise)?.affine(sd, 0.0)?).broadcast_add(&visible)?.reshape(dims)?
            }
        })
    }

    fn values(&self, p: &View, x: &Tensor) -> Result<Option<Tensor>> {
        let Some((machine, x, mut odds)) = self.quick(p, x)? else { return Ok(None) };
        let energies = machine.energies(&x, &mut odds);
        let rows = energies.len();
        Ok(Some(Tensor::from_vec(energies, (rows, 1), &Device::Cpu)?))
    }

    fn grads(&self, p: &View, x: &Tensor, w: &WeightFn<'_>) -> Result<Option<ThetaGrad>> {
        let Some((machine, x, mut chance)) = self.quick(p, x)? else { return Ok(None) };
        let energies = machine.energies(&x, &mut chance);
        let (rows, n, m) = (energies.len(), machine.visible.len(), machine.m);
        let terms = Tensor::from_vec(energies, (rows, 1), &Device::Cpu)?;
        let weights = host::singles(&w.of(&terms)?)?;
        // −w (h − λ) of each row, and the sums over rows of that and of −w (v − μ).
        let (mut hidden, mut visible, mut all) = (vec![0f32; m], vec![0f32; n], 0f32);
        for ((chance, x), w) in chance.chunks_exact_mut(m).zip(x.chunks_exact(n)).zip(&weights) {
            chance.iter_mut().zip(&machine.centre).for_each(|(h, centre)| *h = -w * (*h - centre));
            hidden.iter_mut().zip(&*chance).for_each(|(sum, h)| *sum += h);
            visible.iter_mut().zip(x).for_each(|(sum, v)| *sum -= w * v);
            all += w;
        }
        let mut weight = vec![0f32; n * m];
        scatter(&x, &chance, m, &mut weight);
        if let Some(mean) = &machine.offset {
            rank_one(mean, &hidden, -1.0, &mut weight);
            visible.iter_mut().zip(mean).for_each(|(sum, mean)| *sum += all * mean);
        }
        let mut grads = BTreeMap::new();
        grads.insert("weight".to_string(), Tensor::from_vec(weight, (n, m), &Device::Cpu)?);
        grads.insert("hidden".to_string(), Tensor::from_vec(hidden, m, &Device::Cpu)?);
        grads.insert("visible".to_string(), Tensor::from_vec(visible, n, &Device::Cpu)?);
        Ok(Some(ThetaGrad { terms, grads }))
    }

    fn along(&self, p: &View, beta: f64, fields: &Tensor) -> Result<Vec<(String, Tensor)>> {
        self.binary()?;
        let fields = fields.to_dtype(p.get("visible")?.dtype())?;
        let scaled = |name: &str| -> Result<Tensor> { Ok(p.get(name)?.affine(beta, 0.0)?) };
        let visible = (scaled("visible")? + fields.affine(1.0 - beta, 0.0)?)?;
        let mut all = vec![("visible".to_string(), visible)];
        for name in ["weight", "hidden", "shift"].into_iter().filter(|name| p.has(name)) {
            all.push((name.into(), scaled(name)?));
        }
        Ok(all)
    }

    fn log_z_of_fields(&self, p: &View, fields: &Tensor) -> Result<f64> {
        self.binary()?;
        let fields = host::wide(fields)?;
        // Σ_v exp(f·(v − μ)), and 2 for each hidden unit.
        let shift = match p.has("offset") {
            true => (host::wide(p.get("offset")?)? * &fields)?.sum_all()?,
            false => fields.zeros_like()?.sum_all()?,
        };
        let visible = (fields.softplus()?.sum_all()? - shift)?;
        let hidden = p.get("hidden")?.elem_count() as f64;
        Ok(host::scalar(&visible)? + hidden * std::f64::consts::LN_2)
    }
}

/// A machine, samples, and the log odds of their hidden units.
type Quick = (Machine, Vec<f32>, Vec<f32>);

impl Units {
    /// The machine, the samples as numbers and the log odds of their hidden units, where sums over units that are on do.
    fn quick(&self, p: &View, x: &Tensor) -> Result<Option<Quick>> {
        if self.sd.is_some() {
            return Ok(None);
        }
        let Some(machine) = Machine::of(p, x)? else { return Ok(None) };
        let x = host::singles(x)?;
        Ok(machine.odds(&x).map(|odds| (machine, x, odds)))
    }

    fn binary(&self) -> Result<()> {
        match self.sd {
            None => Ok(()),
            Some(_) => Err(ebm_core::Error::capability(
                "annealing from independent units",
                "binary visible units",
                "an rbm of Gaussian ones",
                "anneal it from a `gaussian` by moves of real samples",
            )),
        }
    }
}
