//! SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024).

use std::collections::BTreeMap;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{
    BuildCx, Error, Optimiser, OptimiserConfig, OptimiserState, Result, Settings, Update, Updated, plugin,
};
use faer::{Mat, Side};

use crate::common::{self, Common, moment, moment_of};
use crate::moments::{self, Factors, update};
use crate::products::{product, product_onto};

/// Settings of `soap`.
///
/// For a matrix with gradient G (rank 3 and more: first axis by the rest) the decaying means of G Gᵀ and Gᵀ G are
/// kept. Their eigenvectors Q_L, Q_R, found at the first update and then refreshed every `refresh` updates by one
/// orthogonal iteration (QR of C·Q), turn the gradient to Q_Lᵀ G Q_R; Adam's two moments and its step are
/// taken there, and the step is turned back. A turned mean gradient goes along when the basis turns, so it is
/// always the mean of G in the present basis (algorithm 3 of the paper; the squares stay, as there).
///
/// Sides longer than `max_side` keep their own axes. Tensors with a side shorter than `min_side` (biases, the layer
/// on the coordinates, the head) are left to Adam. Memory a matrix: four side² tables beside Adam's two.
#[derive(Clone, Debug, Settings)]
pub struct Soap {
    /// Rate, clipping, average, schedule.
    #[setting(flatten)]
    common: Common,
    /// Decay of the mean gradient and of the mean squared gradient.
    #[setting(default = [0.9, 0.99], at_least = 0.0, below = 1.0)]
    betas: [f64; 2],
    /// Decay of the means of G G' and G' G.
    #[setting(default = 0.95, at_least = 0.0, below = 1.0)]
    shampoo_beta: f64,
    /// Updates between refreshes of the basis.
    #[setting(default = 10, at_least = 1, unit = "updates")]
    refresh: u64,
    /// Longest side that gets a basis; a longer one keeps its axes.
    #[setting(default = 1024)]
    max_side: usize,
    /// Shortest side of a matrix that is not left to Adam.
    #[setting(default = 8, at_least = 1)]
    min_side: usize,
    /// Added to the root of the mean squared gradient.
    #[setting(default = 1e-8, above = 0.0)]
    epsilon: f64,
    /// Decoupled weight decay, a rate of 1/update at learning rate 1.
    #[setting(default = 0.0, at_least = 0.0)]
    weight_decay: f64,
}

impl Soap {
    /// At learning rate `rate`, all else as its settings begin; no clipping, no average, no decay.
    pub fn new(rate: f64) -> Self {
        Soap {
            common: Common::at(rate),
            betas: [0.9, 0.99],
            shampoo_beta: 0.95,
            refresh: 10,
            max_side: 1024,
            min_side: 8,
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }

    /// The same with a moving average of the parameters that decays so.
    #[must_use]
    pub fn averaging(mut self, decay: f64) -> Self {
        self.common.average = Some(decay);
        self
    }
}

#[plugin(
    "soap",
    summary = "Adam in Shampoo's eigenbasis: fewer updates on networks some hundreds wide",
    source = "Vyas et al. 2024 (arXiv 2409.11321), algorithm 3",
    example = "rate = 0.01\naverage = 0.99\nschedule = { shape = \"cosine\" }"
)]
impl OptimiserConfig for Soap {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Optimiser>> {
        Ok(Box::new(self.clone()))
    }
}

/// What is kept of one side of a matrix: mean of the outer products, and the basis.
struct SideOf {
    covariance: Tensor,
    basis: Tensor,
    /// `oldᵀ·new` where the basis has just turned.
    turn: Option<Tensor>,
}

impl Soap {
    /// The matrix form of a tensor of these dimensions, if it is not left to Adam.
    fn sides(&self, dims: &[usize]) -> Option<(usize, usize)> {
        let (first, rest) = dims.split_first()?;
        let rest = rest.iter().product::<usize>();
        let small = (*first).min(rest) < self.min_side || dims.len() < 2;
        let plain = *first > self.max_side && rest > self.max_side;
        (!small && !plain).then_some((*first, rest))
    }

    /// The next state of a side from `a · b` = G Gᵀ (or Gᵀ G), at update `t` (from 1).
    fn side(&self, state: &OptimiserState, names: [&str; 2], [a, b]: [&Tensor; 2], t: u64) -> Result<SideOf> {
        let [mean, name] = names;
        let old = moment_of(state, mean, &[a.dims()[0]; 2], a)?;
        let covariance = product_onto(&old, self.shampoo_beta, a, b, 1.0 - self.shampoo_beta)?;
        let Some(basis) = state.tensors.get(name) else {
            return Ok(SideOf { basis: eigenvectors(&covariance)?, covariance, turn: None });
        };
        let basis = moment(state, name, basis)?;
        if !t.is_multiple_of(self.refresh) {
            return Ok(SideOf { covariance, basis, turn: None });
        }
        let new = orthonormal(&product(&covariance, &basis)?)?;
        let turn = Some(product(&basis.t()?, &new)?);
        Ok(SideOf { covariance, basis: new, turn })
    }

    /// New value of the matrix parameter `name` and its part of the next state.
    fn matrix(
        &self,
        name: &str,
        (p, g): (&Tensor, &Tensor),
        (rows, columns): (usize, usize),
        state: &OptimiserState,
        next: &mut OptimiserState,
        f: Factors,
    ) -> Result<Tensor> {
        let shape = p.dims();
        let g = g.reshape((rows, columns))?.contiguous()?;
        let tag = |what: &str| format!("{what}.{name}");
        let mut sides = Vec::with_capacity(2);
        for (which, length) in [("left", rows), ("right", columns)] {
            if length > self.max_side {
                sides.push(None);
                continue;
            }
            let turned = g.t()?;
            let factors = if which == "left" { [&g, &turned] } else { [&turned, &g] };
            let names = [tag(&format!("{which}_mean")), tag(&format!("{which}_basis"))];
            let side = self.side(state, [&names[0], &names[1]], factors, next.step)?;
            next.tensors.insert(names[0].clone(), side.covariance.clone());
            next.tensors.insert(names[1].clone(), side.basis.clone());
            sides.push(Some(side));
        }
        let (left, right) = (sides[0].as_ref(), sides[1].as_ref());
        // leftᵀ · x · right, where a side that keeps its axes is left out.
        let turned = |x: &Tensor, l: Option<&Tensor>, r: Option<&Tensor>| -> Result<Tensor> {
            let x = l.map_or(Ok(x.clone()), |l| product(&l.t()?, x))?;
            r.map_or(Ok(x.clone()), |r| product(&x, r))
        };
        let basis = |s: Option<&SideOf>| s.map(|s| s.basis.clone());
        let turn = |s: Option<&SideOf>| s.and_then(|s| s.turn.clone());
        let (bl, br) = (basis(left), basis(right));
        let (first, second) = (tag("exp_avg"), tag("exp_avg_sq"));
        let m = (f.b1 > 0.0).then(|| moment(state, &first, &g)).transpose()?;
        let m = m.map(|m| turned(&m, turn(left).as_ref(), turn(right).as_ref())).transpose()?;
        let v = moment(state, &second, &g)?;
        let turned_g = turned(&g, bl.as_ref(), br.as_ref())?;
        let (step, m, v) = update(&g.zeros_like()?, &turned_g, m.as_ref(), &v, f)?;
        next.tensors.extend(m.map(|m| (first, m)));
        next.tensors.insert(second, v);
        let p = p.reshape((rows, columns))?;
        let new = match (&bl, &br) {
            (l, Some(r)) => {
                let step = l.as_ref().map_or(Ok(step.clone()), |l| product(l, &step))?;
                product_onto(&p, f.keep, &step, &r.t()?, 1.0)?
            }
            (Some(l), None) => product_onto(&p, f.keep, l, &step, 1.0)?,
            (None, None) => (p.affine(f.keep, 0.0)? + step)?,
        };
        Ok(new.reshape(shape)?)
    }
}

/// A square or tall table on the processor in f64.
fn table(t: &Tensor) -> Result<Mat<f64>> {
    let (rows, columns) = t.dims2()?;
    let v = ebm_core::host::numbers(t)?;
    Ok(Mat::from_fn(rows, columns, |i, j| v[i * columns + j]))
}

/// The same back, in the dtype and on the device of `like`.
fn tensor(rows: usize, columns: usize, at: impl Fn(usize, usize) -> f64, like: &Tensor) -> Result<Tensor> {
    let v: Vec<f64> = (0..rows * columns).map(|k| at(k / columns, k % columns)).collect();
    Ok(Tensor::from_vec(v, (rows, columns), &Device::Cpu)?
        .to_dtype(like.dtype())?
        .to_device(like.device())?)
}

/// Eigenvectors of a symmetric matrix, one a column.
fn eigenvectors(c: &Tensor) -> Result<Tensor> {
    let found = table(c)?.self_adjoint_eigen(Side::Lower).map_err(|e| {
        Error::numeric("soap", 0, format!("eigenvectors of the mean of G G' were not found ({e:?})"))
    })?;
    let u = found.U();
    tensor(u.nrows(), u.ncols(), |i, j| u[(i, j)], c)
}

/// Orthonormal columns that span, in order, what the columns of `y` span (Q of its QR decomposition).
fn orthonormal(y: &Tensor) -> Result<Tensor> {
    let q = table(y)?.qr().compute_thin_Q();
    tensor(q.nrows(), q.ncols(), |i, j| q[(i, j)], y)
}

impl Optimiser for Soap {
    fn update(&self, u: &Update<'_>) -> Result<Updated> {
        let mut next = OptimiserState { step: u.state.step + 1, tensors: u.state.tensors.clone() };
        let t = i32::try_from(next.step).unwrap_or(i32::MAX);
        let factors = Factors::new(self.betas, self.epsilon, self.weight_decay, u.rate, t);
        let mut new = BTreeMap::new();
        for (name, g) in u.clipped()?.iter() {
            let p = common::param(u.params, name, g)?;
            let p = match self.sides(p.dims()) {
                Some(sides) => self.matrix(name, (p, g), sides, u.state, &mut next, factors)?,
                None => moments::tensor(name, (p, g), u.state, &mut next, factors)?,
            };
            new.insert(name.clone(), p);
        }
        u.done(new, next)
    }

    common::settings!();

    fn name(&self) -> String {
        "soap".into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::DType;
    use ebm_core::{ParamSet, Role};

    use super::*;

    fn soap(text: &str) -> Soap {
        serde_json::from_str(text).unwrap()
    }

    fn set(name: &str, t: Tensor) -> ParamSet {
        ParamSet::new([(name.to_string(), t, Role::Trainable)]).unwrap()
    }

    /// Runs `steps` updates of `w` under a gradient of (entries, t); returns the entries.
    fn run(
        s: &Soap,
        w: Tensor,
        steps: u64,
        gradient: impl Fn(&[f64], u64) -> Vec<f64>,
    ) -> (Vec<f64>, OptimiserState) {
        let (params, mut state) = (set("w", w.clone()), OptimiserState::default());
        let mut values = Vec::new();
        for t in 1..=steps {
            let now = params.get("w").unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let g = Tensor::from_vec(gradient(&now, t), w.dims(), &Device::Cpu).unwrap();
            let grads = BTreeMap::from([("w".into(), g)]);
            let new = s.update(&Update::new(&params, &grads, &state, 0.01)).unwrap();
            params.restore(&new.params).unwrap();
            values = new.params["w"].flatten_all().unwrap().to_vec1::<f64>().unwrap();
            state = new.state;
        }
        (values, state)
    }

    fn start() -> Tensor {
        let v: Vec<f64> = (0..12).map(|k| (2.1 * (k / 3) as f64 + 0.9 * (k % 3) as f64).sin()).collect();
        Tensor::from_vec(v, (4, 3), &Device::Cpu).unwrap()
    }

    fn gradient(theta: &[f64], t: u64) -> Vec<f64> {
        let t = t as f64;
        let at = |k: usize| {
            let (i, j) = ((k / 3) as f64, (k % 3) as f64);
            (1.3 * i + 0.7 * j * j + 0.37 * t).sin() + 0.3 * (i * j + t).cos() + 0.2 * theta[k]
        };
        (0..12).map(at).collect()
    }

    #[test]
    fn follows_the_program_in_numpy() {
        // python tests/soap_values.py
        let s = soap(r#"{"rate":0.01,"min_side":2}"#);
        for (steps, want) in GOLD {
            let (found, _) = run(&s, start(), *steps, gradient);
            for (f, w) in found.iter().zip(want) {
                // Step 1 is taken in the gradient's own singular basis: entries that are 0 up to rounding (some 1e-15)
                // are divided by themselves plus ε = 1e-8, so each moves by up to some 1e-7·rate = 1e-9.
                assert!((f - w).abs() < 1e-8, "step {steps}: {f} {w}");
            }
        }
    }

    const GOLD: &[(u64, [f64; 12])] = &[
        (
            1,
            [
                -0.00542031678010912,
                0.778113065396544,
                0.9685493606200368,
                0.8556877234100834,
                0.1407613204382607,
                -0.6832781924709729,
                -0.8749909461391983,
                -0.9191552165657864,
                -0.277729487547194,
                0.015270645275615708,
                0.7989912731070449,
                0.9628938226667406,
            ],
        ),
        (
            9,
            [
                -0.031913932089532186,
                0.7789985427563093,
                0.9458609999041476,
                0.8076292747645598,
                0.15933915170434299,
                -0.6666026095156042,
                -0.7680766484555022,
                -0.8199332506336645,
                -0.2833121268206775,
                0.06787009671185108,
                0.7473090532610488,
                0.8848935994201252,
            ],
        ),
        (
            25,
            [
                -0.007031258233782354,
                0.7565955750816432,
                0.9020427839445151,
                0.7482794305403917,
                0.17336118950776014,
                -0.6205351392976467,
                -0.6882813761451214,
                -0.7513370055376418,
                -0.2862130061644205,
                0.043865354986722796,
                0.6535975506120881,
                0.8480821751950317,
            ],
        ),
    ];

    /// On a gradient whose matrix turns with the parameters, so does SOAP's path; Adam's does not.
    #[test]
    fn the_path_turns_with_the_coordinates() {
        let s = soap(r#"{"rate":0.01,"min_side":2}"#);
        let angle = 0.7f64;
        let turn = |v: &[f64], back: bool| -> Vec<f64> {
            let (sin, cos) = if back { (-angle.sin(), angle.cos()) } else { angle.sin_cos() };
            let row = |i: usize| &v[3 * i..3 * i + 3];
            let mut out = v.to_vec();
            for j in 0..3 {
                out[j] = cos * row(0)[j] - sin * row(1)[j];
                out[3 + j] = sin * row(0)[j] + cos * row(1)[j];
            }
            out
        };
        let (plain, _) = run(&s, start(), 14, gradient);
        let from = turn(&start().flatten_all().unwrap().to_vec1::<f64>().unwrap(), false);
        let from = Tensor::from_vec(from, (4, 3), &Device::Cpu).unwrap();
        let turned_gradient = |w: &[f64], t: u64| turn(&gradient(&turn(w, true), t), false);
        let (turned, _) = run(&s, from.clone(), 14, turned_gradient);
        let off = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        // As above: a few 1e-9 at the first step.
        assert!(off(&turn(&plain, false), &turned) < 1e-8);
        let adam = soap(r#"{"rate":0.01,"min_side":99}"#);
        let (plain, _) = run(&adam, start(), 14, gradient);
        let (turned, _) = run(&adam, from, 14, turned_gradient);
        assert!(off(&turn(&plain, false), &turned) > 1e-3);
    }

    #[test]
    fn vectors_and_thin_layers_are_left_to_adam() {
        let s = soap(r#"{"rate":0.01}"#);
        assert_eq!(
            [&[128usize, 2][..], &[1, 128], &[128], &[2000, 3000]].map(|d| s.sides(d)),
            [None, None, None, None]
        );
        assert_eq!(s.sides(&[128, 128]), Some((128, 128)));
        assert_eq!(s.sides(&[32, 16, 3, 3]), Some((32, 144)));
        let g = |_: &[f64], t: u64| (0..12).map(|k| (k as f64 + t as f64).sin()).collect();
        let (thin, state) = run(&s, start(), 3, g);
        let adam: crate::Adam = serde_json::from_str(r#"{"rate":1.0,"betas":[0.9,0.99]}"#).unwrap();
        let (params, mut old) = (set("w", start()), OptimiserState::default());
        for t in 1..=3 {
            let grads =
                BTreeMap::from([("w".into(), Tensor::from_vec(g(&[], t), (4, 3), &Device::Cpu).unwrap())]);
            let new = adam.update(&Update::new(&params, &grads, &old, 0.01)).unwrap();
            params.restore(&new.params).unwrap();
            old = new.state;
        }
        assert_eq!(thin, params.get("w").unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap());
        assert!(state.tensors.keys().eq(["exp_avg.w", "exp_avg_sq.w"]));
    }

    /// A side beyond `max_side` has no tables, the other has.
    #[test]
    fn long_sides_keep_their_axes() {
        let s = soap(r#"{"rate":0.01,"min_side":2,"max_side":3}"#);
        let (found, state) = run(&s, start(), 12, gradient);
        assert!(state.tensors.contains_key("right_basis.w") && !state.tensors.contains_key("left_mean.w"));
        assert!(found.iter().all(|v| v.is_finite()));
        let q = &state.tensors["right_basis.w"];
        let off =
            (q.t().unwrap().matmul(q).unwrap() - Tensor::eye(3, DType::F64, &Device::Cpu).unwrap()).unwrap();
        // Columns of a QR decomposition in f64.
        assert!(off.abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap() < 1e-14);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let build = |text: &str| {
            let mut cx =
                BuildCx::new(&[2], DType::F32, &Device::Cpu, ebm_core::Key::root(0)).with_path("optimiser");
            soap(text).build(&mut cx).err().unwrap().to_string()
        };
        assert!(build(r#"{"rate":0.01,"shampoo_beta":1.0}"#).contains("optimiser.shampoo_beta"));
        assert!(build(r#"{"rate":0.01,"refresh":0}"#).contains("refresh"));
        assert!(build(r#"{"rate":0.01,"betas":[0.9,1.0]}"#).contains("optimiser.betas"));
    }
}
