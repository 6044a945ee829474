//! What the optimisers share: checks of settings, moments, the schedule's table.

use ebm_core::candle::Tensor;
use ebm_core::{BuildCx, Error, OptimiserState, Param, ParamSet, Result, Schedule};

/// Settings of a learning-rate schedule.
pub(crate) const SCHEDULE: &[Param] = &[
    Param::choice("shape", &["constant", "linear", "cosine"], "form of the decay from 1"),
    Param::float("end", "factor of the rate at the end of the run").default("0.0").at_least(0.0),
    Param::int("warmup", "updates of linear warm-up from 0").default("0").at_least(0.0),
];

/// Checks the settings that every optimiser has.
pub(crate) fn check(
    cx: &BuildCx,
    rate: f64,
    clip_norm: Option<f64>,
    average: Option<f64>,
    schedule: &Schedule,
) -> Result<()> {
    let refuse = |name: &str, value: f64, want: &str| {
        Err(Error::config(format!("{}.{name}", cx.path()), format!("is {value}, must be {want}")))
    };
    if !(rate > 0.0 && rate.is_finite()) {
        return refuse("rate", rate, "> 0");
    }
    if let Some(c) = clip_norm.filter(|c| !(*c > 0.0 && c.is_finite())) {
        return refuse("clip_norm", c, "> 0");
    }
    if let Some(a) = average.filter(|a| !(0.0..1.0).contains(a)) {
        return refuse("average", a, "≥ 0 and < 1");
    }
    if !(schedule.end >= 0.0 && schedule.end.is_finite()) {
        return refuse("schedule.end", schedule.end, "≥ 0");
    }
    Ok(())
}

/// The moment called `name`, zeros like `p` at first.
pub(crate) fn moment(state: &OptimiserState, name: &str, p: &Tensor) -> Result<Tensor> {
    match state.tensors.get(name) {
        Some(t) if t.dims() == p.dims() => Ok(t.clone()),
        Some(t) => Err(Error::shape(
            name,
            t.dims(),
            format!("{:?} like the parameter", p.dims()),
            "the optimiser's state belongs to another network",
        )),
        None => Ok(p.zeros_like()?),
    }
}

/// The methods of an `Optimiser` that read the settings all optimisers share.
macro_rules! settings {
    () => {
        fn rate(&self, step: u64, of: u64) -> f64 {
            self.rate * self.schedule.factor(step, of)
        }

        fn clip_norm(&self) -> Option<f64> {
            self.clip_norm
        }

        fn average(&self) -> Option<f64> {
            self.average
        }
    };
}
pub(crate) use settings;

/// The parameter that gradient `g` is for.
pub(crate) fn param<'a>(params: &'a ParamSet, name: &str, g: &Tensor) -> Result<&'a Tensor> {
    let p = params.get(name).ok_or_else(|| Error::config(name, "has a gradient but no value"))?;
    if p.dims() != g.dims() {
        let want = format!("{:?} like the parameter", p.dims());
        return Err(Error::shape(
            format!("gradient of {name}"),
            g.dims(),
            want,
            "the energy must keep shapes",
        ));
    }
    Ok(p)
}

#[cfg(test)]
pub(crate) mod testing {
    #![allow(clippy::unwrap_used)]
    use ebm_core::Role;
    use ebm_core::candle::{DType, Device};

    use super::*;

    /// One parameter `w` with these values.
    pub(crate) fn one_param(values: &[f64], dtype: DType) -> ParamSet {
        let t = Tensor::new(values, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        ParamSet::new([("w".to_string(), t, Role::Trainable)]).unwrap()
    }

    /// Its values.
    pub(crate) fn values(params: &ParamSet) -> Vec<f64> {
        params.get("w").unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let cx = BuildCx::new(&[], DType::F32, &Device::Cpu, ebm_core::Key::root(0)).with_path("optimiser");
        let s = Schedule::default();
        assert!(check(&cx, 0.1, Some(1.0), Some(0.99), &s).is_ok());
        for (e, word) in [
            (check(&cx, 0.0, None, None, &s), "optimiser.rate: is 0"),
            (check(&cx, 1.0, Some(-1.0), None, &s), "optimiser.clip_norm: is -1"),
            (check(&cx, 1.0, None, Some(1.0), &s), "optimiser.average: is 1"),
        ] {
            let text = e.unwrap_err().to_string();
            assert!(text.contains(word), "{text}");
        }
    }
}
