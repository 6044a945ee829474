//! Gradients of every loss term, at golden points and along the own chain.

use std::collections::BTreeMap;

use ebm_core::candle::{DType, Tensor};
use ebm_core::{Link, Result, ThetaGrad, Trail, WeightFn};
use ebm_energies_paper::names::published_of;

use super::compare::{Tensors, l2, largest, norm, relative, sum, worst_tensor};
use super::iteration::{Iteration, Step};
use super::report::Report;

/// Distances `(n,)` to the nearest rows of a bank, and those rows.
pub(super) struct Nearest {
    pub distance: Tensor,
    pub row: Tensor,
}

/// Gradients of the loss terms.
pub(super) struct Parts {
    pub cdreg: Tensors,
    pub kl: Tensors,
    pub ent: Tensors,
}

impl Iteration<'_> {
    /// For each row of `x`, its nearest row of `compare`.
    pub(super) fn nearest(&self, x: &Tensor) -> Result<Nearest> {
        let bank = self.golden.input("compare")?;
        let (mut rows, mut distances) = (Vec::new(), Vec::new());
        for i in 0..x.dim(0)? {
            let difference = bank.broadcast_sub(&x.narrow(0, i, 1)?)?;
            let square = difference.sqr()?.flatten_from(1)?.sum(1)?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            let first = (0..square.len()).fold(0, |best, j| if square[j] < square[best] { j } else { best });
            rows.push(bank.narrow(0, first, 1)?);
            distances.push(square.get(first).copied().unwrap_or(f64::NAN).sqrt());
        }
        let n = distances.len();
        let distance = Tensor::from_vec(distances, n, x.device())?.to_dtype(x.dtype())?;
        Ok(Nearest { distance, row: Tensor::cat(&rows, 0)? })
    }

    /// ∂/∂z of the KL term's energy part: `c·∇E(z)/(n·S)`, the energy's parameters frozen.
    fn kl_cotangent(&self, z: &Tensor) -> Result<Tensor> {
        self.subject.pass(self.steps + 4)?;
        let slope = self.energy().slope(&self.subject.batch(z)?)?;
        let share = self.golden.number("kl_coeff")? / (z.dim(0)? * self.energy().spec().terms.len()) as f64;
        Ok(slope.grad.affine(share, 0.0)?)
    }

    /// ∂/∂z of the entropy part: `−c·(z − r)/(n·d²)`.
    fn ent_cotangent(&self, z: &Tensor) -> Result<Tensor> {
        let near = self.nearest(z)?;
        let rate = -self.golden.number("ent_coeff")? / z.dim(0)? as f64;
        let scale = near.distance.sqr()?.recip()?.affine(rate, 0.0)?.reshape(((), 1, 1, 1))?;
        Ok((z - near.row)?.broadcast_mul(&scale)?)
    }

    /// Equation (1): the gradient through the last step, from the cotangent `u` of its result.
    fn through_step(&self, step: &Step, u: &Tensor) -> Result<Tensors> {
        self.subject.pass(self.steps + 1)?;
        let v = (u * self.inside(step)?)?.affine(-self.rate, 0.0)?;
        let at = self.subject.batch(&step.hat)?;
        Ok(published(self.energy().grad_theta_slope(&at, &v)?))
    }

    /// The gradient of the KL term's energy part through every step.
    fn through_chain(&self, chain: &[Step]) -> Result<Tensors> {
        let links = chain
            .iter()
            .map(|s| {
                let pass = Some(inside(&s.moved)?);
                Ok(Link::Descent { at: self.subject.batch(&s.hat)?, scale: self.rate, pass, active: None })
            })
            .collect::<Result<Vec<_>>>()?;
        let Some(last) = chain.last() else { return Ok(Tensors::new()) };
        let u = self.kl_cotangent(&last.end.narrow(0, 0, self.kl_rows)?)?;
        let mut all = Tensors::new();
        for demand in Trail::of(links).pull_back(self.energy(), &u)? {
            let part = published(self.energy().grad_theta_slope(&demand.at, &demand.v)?);
            all = sum(&all, &part, 1.0)?;
        }
        Ok(all)
    }

    fn cd_gradient(&self, neg: &Tensor) -> Result<Tensors> {
        let weight = |sign: f64| {
            WeightFn::of_all(move |t| {
                let n = t.elem_count() as f64;
                Ok(t.affine(2.0 / n, sign / n)?)
            })
        };
        self.subject.pass(self.steps + 2)?;
        let pos =
            self.energy().grad_theta(&self.subject.batch(&self.golden.input("x_pos")?)?, &weight(1.0))?;
        self.subject.pass(self.steps + 3)?;
        let neg = self.energy().grad_theta(&self.subject.batch(neg)?, &weight(-1.0))?;
        sum(&published(pos), &published(neg), 1.0)
    }

    /// The gradients at the end of a chain.
    pub(super) fn parts(&self, last: &Step) -> Result<Parts> {
        let step = self.kl_step(&last.hat)?;
        Ok(Parts {
            cdreg: self.cd_gradient(&last.end)?,
            kl: self.through_step(&step, &self.kl_cotangent(&step.end)?)?,
            ent: self.through_step(&step, &self.ent_cotangent(&step.end)?)?,
        })
    }

    pub(super) fn gradients(&self, report: &mut Report, chain: &[Step]) -> Result<()> {
        if let (Some(neg), Some(z)) = (self.state(self.steps)?, self.golden_kl()?) {
            let step = self.kl_step(&self.golden.input("x_hat")?)?;
            let parts = Parts {
                cdreg: self.cd_gradient(&neg)?,
                kl: self.through_step(&step, &self.kl_cotangent(&z)?)?,
                ent: self.through_step(&step, &self.ent_cotangent(&z)?)?,
            };
            self.compare_gradients(report, "golden x", &parts, at_golden_points)?;
            self.update_from_golden(report)?;
        }
        let Some(last) = chain.last() else { return Ok(()) };
        let parts = self.parts(last)?;
        let errors = self.golden.numbers("f32_error")?;
        let own: BTreeMap<&str, f64> = ["cdreg", "kl", "ent", "total"]
            .into_iter()
            .filter(|k| errors.is_empty() || errors.contains_key(&format!("g.{k}.l2")))
            .map(|k| Ok((k, self.published_error(&format!("g.{k}.l2"))?)))
            .collect::<Result<_>>()?;
        self.compare_gradients(report, "own chain", &parts, |key| {
            let known = |k: &str| own.get(k).copied();
            // The sum of two parts is as far off as the worse one.
            let own =
                known(key).unwrap_or_else(|| known("cdreg").unwrap_or(0.0).max(known("ent").unwrap_or(0.0)));
            // Never less than what is demanded at the golden points, where nothing has compounded.
            (10.0 * own).max(at_golden_points(key))
        })?;
        let total = sum(&sum(&parts.cdreg, &parts.kl, 1.0)?, &parts.ent, 1.0)?;
        let allowed = (10.0 * self.published_error("grad_norm")?).max(1e-5);
        report.add(
            "norm of the total gradient, own chain",
            relative(norm(&total)?, self.golden.scalar("grad_norm")?),
            allowed,
        );
        self.update_from_own(report, &total)?;
        let want = self.golden.group("g.kl_full")?;
        if !want.is_empty() {
            let found = self.through_chain(chain)?;
            let allowed = 10.0 * self.published_error("g.kl_full.l2")?;
            report.add("gradient kl through all steps, own chain", l2(&found, &want)?, allowed);
        }
        Ok(())
    }

    fn compare_gradients(
        &self,
        report: &mut Report,
        what: &str,
        parts: &Parts,
        allowed: impl Fn(&str) -> f64,
    ) -> Result<()> {
        let total = sum(&sum(&parts.cdreg, &parts.kl, 1.0)?, &parts.ent, 1.0)?;
        let zero = self.golden.names("zero_gradient")?;
        let errors = self.golden.numbers("f32_error")?;
        let mut worst_known = BTreeMap::new();
        for key in ["cdreg", "kl", "ent", "total"] {
            worst_known.insert(key, self.published_error(&format!("g.{key}.worst_tensor"))?);
        }
        let isolated_known = |key: &str| -> Result<Option<f64>> {
            let name = format!("iso.g.{key}.l2");
            let there = errors.is_empty() || errors.contains_key(&name);
            there.then(|| self.published_error(&name)).transpose()
        };
        let isolated_all = ["cdreg", "kl", "ent", "total"].map(|k| isolated_known(k).map(|v| (k, v)));
        let isolated_all: BTreeMap<&str, Option<f64>> = isolated_all.into_iter().collect::<Result<_>>()?;
        // The sum of parts is as far off as the worst of them.
        let isolated = |key: &str| {
            let own = |k: &str| isolated_all.get(k).copied().flatten();
            own(key).unwrap_or_else(|| {
                ["cdreg", "kl", "ent", "total"].into_iter().filter_map(own).fold(0.0, f64::max)
            })
        };
        // In f64 the golden points' own rounding to f32 is left, a part of what an f32 program suffers.
        let (double, double_worst) = if what == "golden x" { (0.5, 0.05) } else { (0.0, 0.0) };
        for (key, found) in
            [("cdreg", &parts.cdreg), ("kl", &parts.kl), ("ent", &parts.ent), ("total", &total)]
        {
            let want = self.golden.group(&format!("g.{key}"))?;
            if want.is_empty() {
                continue;
            }
            let in_double = (double * isolated(key)).max(1e-6);
            report.add_with(format!("gradient {key}, {what}"), l2(found, &want)?, allowed(key), in_double);
            let worst = worst_tensor(found, &want, &zero)?;
            let own = worst_known.get(key).copied().unwrap_or(0.0);
            let in_double = (double_worst * own).max(1e-4);
            let single = (10.0 * own).max(1e-3);
            report.add_with(format!("gradient {key}, worst tensor, {what}"), worst, single, in_double);
        }
        let (total_want, kl_want) = (self.golden.group("g.total")?, self.golden.group("g.kl")?);
        if !total_want.is_empty() && !kl_want.is_empty() {
            let want = sum(&total_want, &kl_want, -1.0)?;
            let found = sum(&parts.cdreg, &parts.ent, 1.0)?;
            let in_double = (double * isolated("cdreg + ent")).max(1e-6);
            let error = l2(&found, &want)?;
            report.add_with(
                format!("gradient cdreg + ent, {what}"),
                error,
                allowed("cdreg + ent"),
                in_double,
            );
        }
        let noise = largest(&total, &zero)? / norm(&total)?;
        // f32 rounding of sums that cancel exactly; the published program shows up to 1e−6 of the norm.
        report.add_with(format!("gradients that are exactly zero, {what}"), noise, 1e-4, 1e-8);
        Ok(())
    }
}

/// What an f32 program must reach at golden points.
fn at_golden_points(key: &str) -> f64 {
    match key {
        "cdreg" => 5e-5,
        "kl" | "total" => 1e-3,
        _ => 5e-4,
    }
}

/// 1 where the clamp lets a derivative through, bounds included.
pub(super) fn inside(moved: &Tensor) -> Result<Tensor> {
    let (low, high) = (moved.ge(0.0)?, moved.le(1.0)?);
    Ok((low.to_dtype(moved.dtype())? * high.to_dtype(moved.dtype())?)?)
}

fn published(g: ThetaGrad) -> BTreeMap<String, Tensor> {
    g.grads.into_iter().map(|(name, t)| (published_of(&name), t)).collect()
}
