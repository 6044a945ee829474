//! Fusions where channels come last: a convolution, what surrounds the function after it, and nothing that is added on its own.

use candle_core::{DType, Tensor};
use ebm_core::Result;
use ebm_core::plan::NodeId;

use super::gradient::Gradient;
use super::{Pull, Sweep};
use crate::check::missing;
use crate::fusion::Fusion;
use crate::images::Last;

impl Sweep<'_> {
    /// A fusion, if the device covers it.
    pub(super) fn fused_last(
        &self,
        last: &Last,
        f: &Fusion,
        values: &[Option<Tensor>],
    ) -> Result<Option<(Tensor, Pull)>> {
        let plan = self.net.plan();
        let value = |id: NodeId| values[id].as_ref().ok_or_else(|| missing(id));
        let (input, skip) = f.inputs();
        let (x, ops) = (value(input)?, last.ops.clone());
        if let Some(factor) = f.over_space(plan) {
            let (x, function) = (x.clone(), f.function());
            let Some(y) = ops.space(&x, function, factor)? else { return Ok(None) };
            let pull =
                move |g: &Gradient| Ok(vec![(input, ops.space_back(&x, function, factor, &g.whole()?)?)]);
            return Ok(Some((y, Box::new(pull))));
        }
        let stored = self.images.stored();
        let (mut what, conv) = f.operands(plan, self.net.weights(), self.p, self.cond, DType::F32, stored)?;
        let before = f.before(plan, self.p)?.cloned();
        let (size, images) = (self.images.sides(x)?, self.images.clone());
        let seen = match &conv {
            None => x.clone(),
            Some(c) => images.convolve(x, c)?,
        };
        if let Some(rule) = f.pool.clone() {
            let (function, within) = (f.function(), images.sides(&seen)?);
            let Some((y, kept)) = ops.pool(&seen, before.as_ref(), &rule, function)? else { return Ok(None) };
            let pull = move |g: &Gradient| {
                let mut of_x = ops.pool_back(kept.as_ref(), &rule, function, within, g.parts())?;
                if let Some(c) = conv {
                    of_x = images.pulled_back(&of_x, &c, size)?;
                }
                Ok(vec![(input, of_x)])
            };
            return Ok(Some((y, Box::new(pull))));
        }
        what.skip = skip.map(value).transpose()?.cloned();
        let Some((y, kept)) = ops.norm_act(&seen, before.as_ref(), &what)? else { return Ok(None) };
        what.skip = None;
        let pull = move |g: &Gradient| {
            let more = skip.is_some();
            let (mut of_x, whole) =
                ops.norm_act_back(&seen, before.as_ref(), &what, &kept, g.parts(), more)?;
            if let Some(c) = conv {
                of_x = images.pulled_back(&of_x, &c, size)?;
            }
            Ok([Some((input, of_x)), skip.zip(whole)].into_iter().flatten().collect())
        };
        Ok(Some((y, Box::new(pull))))
    }
}
