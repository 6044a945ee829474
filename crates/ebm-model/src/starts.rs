//! Where chains start: fresh starts, restarts among drawn chains, and transitions applied to them.

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Batch, BuildCx, Chains, Domain, EnergyFn, Error, Key, Result, Transition, TransitionConfig, per_row,
};

/// Makes fresh starts and prepares chains drawn from the buffer.
pub struct Starts {
    shape: Vec<usize>,
    dtype: DType,
    device: Device,
    range: (f64, f64),
    fresh: Option<Box<dyn Transition>>,
    drawn: Vec<Box<dyn Transition>>,
    restart: f64,
}

impl Starts {
    /// Whether a transition lets chains depend on the others of their batch.
    pub fn couples_chains(&self) -> bool {
        self.fresh.iter().chain(&self.drawn).any(|t| t.couples_chains())
    }

    /// Whether the transitions can move chains of this energy.
    ///
    /// # Errors
    /// Names the first that cannot.
    pub fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        self.fresh.iter().chain(&self.drawn).try_for_each(|t| t.fits(e))
    }

    /// The boxes that transitions for drawn chains hold samples in, with their places in the configuration.
    pub fn bounds(&self) -> Vec<(String, (f64, f64))> {
        let all = self.drawn.iter().enumerate();
        all.filter_map(|(i, t)| Some((format!("chains.transitions[{i}]"), t.bounds()?))).collect()
    }

    /// Starts for samples of the context's shape, range and type.
    ///
    /// # Errors
    /// If a transition cannot be built.
    pub fn build(
        cx: &mut BuildCx,
        fresh: Option<&dyn TransitionConfig>,
        drawn: &[Box<dyn TransitionConfig>],
        restart: f64,
    ) -> Result<Self> {
        Ok(Starts {
            shape: cx.sample_shape().to_vec(),
            dtype: cx.dtype(),
            device: cx.device().clone(),
            range: cx.range().unwrap_or((0.0, 1.0)),
            fresh: fresh.map(|t| t.build_at("start", cx)).transpose()?,
            drawn: cx.each("transitions", drawn, |t, cx| t.build(cx))?,
            restart,
        })
    }

    /// Fresh starts for these chains under this condition, `(B, ...)`: without a transition for them uniform samples of the
    /// energy's domain.
    ///
    /// # Errors
    /// If the start transition fails.
    pub fn fresh(
        &self,
        e: &dyn EnergyFn,
        chains: &Chains,
        cond: Option<&Tensor>,
        key: Key,
    ) -> Result<Tensor> {
        match &self.fresh {
            None => {
                let domain = Some(e.spec().domain).filter(|d| d.is_discrete());
                let domain = domain.unwrap_or(Domain::Box(self.range.0, self.range.1));
                let fresh = domain.uniform(chains, &self.shape, self.dtype, &self.device, key)?;
                fresh
                    .ok_or_else(|| Error::config("chains.start", "is missing, and there is no uniform start"))
            }
            Some(t) => {
                let mut shape = vec![chains.len()];
                shape.extend_from_slice(&self.shape);
                let zeros = Batch::new(Tensor::zeros(shape, self.dtype, &self.device)?)?;
                let at = zeros.with_chains(chains.clone()).with_cond(cond.cloned());
                Ok(apply(t.as_ref(), e, at, key)?.x)
            }
        }
    }

    /// Applies the transitions for drawn chains in their order.
    ///
    /// # Errors
    /// If a transition fails.
    pub fn prepare(&self, e: &dyn EnergyFn, mut at: Batch, key: Key) -> Result<Batch> {
        for (i, t) in self.drawn.iter().enumerate() {
            at = apply(t.as_ref(), e, at, key.at(i))?;
        }
        Ok(at)
    }

    /// Replaces each row by a fresh start, under its row of `cond` `(B, c)`, with the restart probability.
    ///
    /// # Errors
    /// If a fresh start cannot be made.
    pub fn restart(&self, e: &dyn EnergyFn, at: Batch, cond: Option<&Tensor>, key: Key) -> Result<Batch> {
        let coin = key.at("coin");
        let hit: Vec<u8> =
            at.chains.ids().iter().map(|id| u8::from(coin.uniform_at(*id) < self.restart)).collect();
        if hit.iter().all(|h| *h == 0) {
            return Ok(at);
        }
        let key = key.at("fresh");
        let fresh = match &self.fresh {
            // Chains that follow the energy cost as much as those of the step: only those that restart.
            Some(t) if t.needs_energy() && !t.couples_chains() => {
                let rows: Vec<u32> = (0..).zip(&hit).filter_map(|(i, hit)| (*hit > 0).then_some(i)).collect();
                let index = Tensor::from_slice(&rows, rows.len(), at.device())?;
                let cond = cond.map(|c| c.index_select(&index, 0)).transpose()?;
                let some = self.fresh(e, &at.rows(&rows)?.chains, cond.as_ref(), key)?;
                at.x.zeros_like()?.index_add(&index, &some, 0)?
            }
            _ => self.fresh(e, &at.chains, cond, key)?,
        };
        let hit = Tensor::from_vec(hit, at.len(), at.device())?;
        let choose = |a: &Tensor, b: &Tensor| -> Result<Tensor> {
            Ok(per_row(&hit, b)?.broadcast_as(b.shape())?.where_cond(a, b)?)
        };
        let cond = match (cond, &at.cond) {
            (Some(new), Some(own)) => Some(choose(new, own)?),
            (_, own) => own.clone(),
        };
        Ok(at.with_x(choose(&fresh, &at.x)?).with_cond(cond))
    }
}

/// One step of `t` from `at`.
fn apply(t: &dyn Transition, e: &dyn EnergyFn, at: Batch, key: Key) -> Result<Batch> {
    let state = t.init(e, at, key.at("init"))?;
    Ok(t.step(e, &state, key.at("step"))?.state.at)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use ebm_core::{ChainState, Link, Opaque, ParamSet, Sensitivity, Stepped};

    use super::*;

    /// Noise that says it follows the energy, and counts its rows.
    struct Noise(Arc<Mutex<Vec<usize>>>, bool);

    impl Transition for Noise {
        fn step(&self, _: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
            self.0.lock().unwrap().push(state.at.len());
            let x = key.normal(&state.at.chains, &[2], DType::F64, &Device::Cpu)?;
            Ok(Stepped::new(state.advance(x), Link::Cut))
        }
        fn sensitivity(&self) -> Sensitivity {
            Sensitivity::Cuts
        }
        fn needs_energy(&self) -> bool {
            self.1
        }
        fn name(&self) -> String {
            "noise".into()
        }
    }

    #[test]
    fn starts_that_follow_the_energy_are_made_for_the_chains_that_restart_alone_and_are_the_same() {
        let e = Opaque::new("flat", &[2], ParamSet::default(), |_, x, _| Ok(x.sum_keepdim(1)?));
        let chains = Chains::range(3, 40);
        let at = Batch::new(Tensor::zeros((40, 2), DType::F64, &Device::Cpu).unwrap()).unwrap();
        let at = at.with_chains(chains);
        let restarted = |follows: bool| {
            let rows = Arc::new(Mutex::new(Vec::new()));
            let fresh: Option<Box<dyn Transition>> = Some(Box::new(Noise(rows.clone(), follows)));
            let (dtype, device, range) = (DType::F64, Device::Cpu, (0.0, 1.0));
            let starts = Starts { shape: vec![2], dtype, device, range, fresh, drawn: vec![], restart: 0.3 };
            let x = starts.restart(&e, at.clone(), None, Key::root(5)).unwrap().x.to_vec2::<f64>().unwrap();
            let rows = rows.lock().unwrap().clone();
            (x, rows)
        };
        let (all, some) = (restarted(false), restarted(true));
        assert_eq!(all.0, some.0);
        let hit = all.0.iter().filter(|x| x[0] != 0.0).count();
        assert!((4..24).contains(&hit) && all.1 == [40] && some.1 == [hit], "{all:?} {some:?}");
    }
}
