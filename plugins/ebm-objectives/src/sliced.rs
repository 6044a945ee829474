//! `sliced-score-matching`: the score along random directions, from differences of energies.

use ebm_core::candle::Tensor;
use ebm_core::{
    Batch, BuildCx, Demands, EnergyFn, Key, Needs, Objective, ObjectiveConfig, Result, Settings, StepInput,
    TermName, per_row, plugin, row_sum,
};

use crate::numbers::{for_terms, sum, total};

/// Score matching along one random direction a datum, by finite differences of energies; nothing is sampled.
///
/// `mean [½ D₁² − D₂]` with `D₁ = (E(x + εv) − E(x − εv)) / 2ε` and `D₂ = (E(x + εv) + E(x − εv) − 2 E(x)) / ε²`, v uniform
/// on the sphere of radius √d (Song et al. 2020, equation 8, in the form of Pang et al. 2020, equation 9). Three energies a
/// datum, no derivative in x. ε must be small beside the finest structure of the data and large beside the rounding of
/// energies: 0.03 for data of unit scale.
#[derive(Clone, Debug, Settings)]
pub struct SlicedScoreMatching {
    /// Length ε of a difference, in units of the data, for directions of length √d.
    #[setting(default = 0.03, above = 0.0)]
    pub epsilon: f64,
}

impl Objective for SlicedScoreMatching {
    fn needs(&self) -> Needs {
        Needs::none()
    }

    fn terms(&self) -> Vec<TermName> {
        vec!["ssm".into()]
    }

    fn portions(&self) -> bool {
        true
    }

    fn demands(&self, _: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let (data, rows, eps) = (input.data, input.data.len(), self.epsilon);
        let scale = 1.0 / input.portion_of(data).of.max(1) as f64;
        let n = key.at("direction").normal(&data.chains, data.sample_shape(), data.dtype(), data.device())?;
        let d = data.sample_shape().iter().product::<usize>() as f64;
        let length = row_sum(&n.sqr()?)?.affine(1.0 / d, 1e-30)?.sqrt()?;
        let step = n.broadcast_div(&per_row(&length, &n)?)?.affine(eps, 0.0)?;
        let (ahead, behind) = (data.with_x((&data.x + &step)?), data.with_x((&data.x - &step)?));
        let at = Batch::cat(&[data, &ahead, &behind])?;
        let differences = move |terms: &Tensor| -> Result<(Tensor, Tensor)> {
            let e = total(terms)?;
            let (here, ahead, behind) =
                (e.narrow(0, 0, rows)?, e.narrow(0, rows, rows)?, e.narrow(0, 2 * rows, rows)?);
            let first = (&ahead - &behind)?.affine(0.5 / eps, 0.0)?;
            // Differences before the sum: energies are large beside what is left.
            let second = ((ahead - &here)? + (behind - here)?)?.affine(1.0 / (eps * eps), 0.0)?;
            Ok((first, second))
        };
        let mut demands = Demands::default();
        demands.energy(
            "ssm",
            "slices",
            &at,
            move |terms| {
                let (first, _) = differences(terms)?;
                let (slope, bend) = (first.affine(scale * 0.5 / eps, 0.0)?, scale / (eps * eps));
                let here = slope.zeros_like()?.affine(0.0, 2.0 * bend)?;
                let rows = Tensor::cat(&[here, slope.affine(1.0, -bend)?, slope.affine(-1.0, -bend)?], 0)?;
                for_terms(&rows, terms)
            },
            move |terms| {
                let (first, second) = differences(terms)?;
                Ok(scale * sum(&(first.sqr()?.affine(0.5, 0.0)? - second)?)?)
            },
        );
        Ok(demands)
    }

    fn name(&self) -> String {
        "sliced-score-matching".into()
    }
}

#[plugin(
    "sliced-score-matching",
    source = "Song, Garg, Shi, Ermon 2020; Pang, Xu, Li, Song, Ermon, Zhu 2020, equation 9",
    example = "epsilon = 0.03"
)]
impl ObjectiveConfig for SlicedScoreMatching {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self.clone()))
    }
}
