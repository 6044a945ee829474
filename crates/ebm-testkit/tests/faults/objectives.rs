//! Objectives: the mean energy of the data with a learnt offset, and a contrast with samples, with one line wrong.

use ebm_core::candle::{Device, Tensor};
use ebm_core::{Batch, Demands, EnergyFn, Error, Key, Needs, Objective, ParamSet, Result, Role, StepInput};
use ebm_testkit::{Verdict, laws};

use crate::{Planted, planted};

/// mean (E − b)² / 2 with a learnt b.
struct Offset {
    what: &'static str,
    params: ParamSet,
}

impl Objective for Offset {
    fn needs(&self) -> Needs {
        Needs::none()
    }
    fn needs_at(&self, step: u64, _: u64) -> Needs {
        if self.what == "needs" && step > 20 { Needs::none().with_samples() } else { Needs::none() }
    }
    fn params(&self) -> ParamSet {
        self.params.clone()
    }
    fn portions(&self) -> bool {
        true
    }
    fn demands(&self, _: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let (at, what) = (input.data, self.what);
        let of = if what == "rows" { at.len() } else { input.portion_of(at).of } as f64;
        let b = self.params.live().get("b")?.detach();
        let key = match what {
            "random" => Key::root(1).at(format!("{:?}", std::time::Instant::now()).as_str()),
            _ => key,
        };
        let jitter = if ["random", "sound noise"].contains(&what) { key.uniform_at(0) } else { 0.0 };
        let sign = if what == "sign" { -1.0 } else { 1.0 };
        let twice = if what == "twice" { 2.0 } else { 1.0 };
        let off = move |t: &Tensor, b: &Tensor| -> Result<Tensor> {
            Ok(t.sum_keepdim(1)?.broadcast_sub(b)?.affine(1.0, jitter)?)
        };
        let label = if what == "label" { "other" } else { "offset" };
        let mut demands = Demands::default();
        let own = b.clone();
        let also = b.clone();
        demands.energy(
            label,
            "data",
            at,
            move |t| {
                let w = off(t, &b)?.affine(sign * twice / of, 0.0)?;
                Ok(w.broadcast_as(t.shape())?.contiguous()?)
            },
            move |t| {
                let square = off(t, &also)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
                Ok(if what == "value" { 0.0 } else { 0.5 * square / of })
            },
        );
        if what != "own" {
            let sign = if what == "own sign" { 1.0 } else { -1.0 };
            demands.own(label, "b", "data", at, move |t| {
                Ok(off(t, &own)?.sum_all()?.affine(sign / of, 0.0)?.reshape(1)?)
            });
        }
        if what == "blows up" && input.step > 20 {
            demands.value(label, f64::INFINITY);
        }
        Ok(demands)
    }
    fn name(&self) -> String {
        "offset".into()
    }
}

fn offset(what: &'static str) -> Verdict {
    let b = Tensor::new(&[0.3f64], &Device::Cpu)?;
    let params = ParamSet::new([("b".to_string(), b, Role::Trainable)])?;
    laws::objective(&Offset { what, params }, &[3])
}

/// mean E(data) − mean E(samples).
struct Contrast(&'static str);

impl Objective for Contrast {
    fn needs(&self) -> Needs {
        Needs::none().with_samples()
    }
    fn demands(&self, _: &dyn EnergyFn, input: &StepInput<'_>, _: Key) -> Result<Demands> {
        let mut demands = Demands::default();
        let mut mean = |rows: &'static str, at: &Batch, sign: f64, shown: f64| {
            let of = at.len() as f64;
            demands.energy(
                "contrast",
                rows,
                at,
                move |t| Ok(t.ones_like()?.affine(sign / of, 0.0)?),
                move |t| Ok(shown * t.sum_all()?.to_scalar::<f64>()? / of),
            );
        };
        mean("data", input.data, 1.0, 1.0);
        match (input.drawn, self.0) {
            (Some(drawn), "turned") => mean("samples", &drawn.last.at, 1.0, -1.0),
            (Some(drawn), _) => mean("samples", &drawn.last.at, -1.0, -1.0),
            (None, "silent") => {}
            (None, _) => return Err(Error::config("contrast", "needs samples; give the run a sampler")),
        }
        Ok(demands)
    }
    fn name(&self) -> String {
        "contrast".into()
    }
}

fn contrast(what: &'static str) -> Verdict {
    laws::objective(&Contrast(what), &[3])
}

pub(crate) fn all() -> Vec<Planted> {
    let p = |fault, says, run: fn() -> Verdict| planted("objective", fault, says, run);
    vec![
        p("sound offset", "", || offset("")),
        p("sound noise", "", || offset("sound noise")),
        p("sound contrast", "", || contrast("")),
        p("weight with the sign turned", "differences of its value", || offset("sign")),
        p("gradient of twice the loss", "differences of its value", || offset("twice")),
        p("no value", "differences of its value", || offset("value")),
        p("gradient of its own parameter missing", "objective.b", || offset("own")),
        p("gradient of its own parameter turned", "objective.b", || offset("own sign")),
        p("mean over the rows that are here", "portions", || offset("rows")),
        p("a label that `terms` has not", "`other`", || offset("label")),
        p("a clock in the value", "gave two results", || offset("random")),
        p("needs samples from step 20 on, unsaid", "is the most of all steps", || offset("needs")),
        p("infinite from step 20 on", "at step 50", || offset("blows up")),
        p("samples with the sign of data", "differences of its value", || contrast("turned")),
        p("goes on without samples", "goes on without", || contrast("silent")),
    ]
}
