//! Conditions and device of a plan, as drawing samples needs them.

use candle_core::{Device, Tensor};
use ebm_train::Plan;

use crate::error::Result;

/// Conditions for generation: those of the first data batch, used in turn.
pub(crate) fn conditions(plan: &Plan) -> Result<Option<Tensor>> {
    if plan.data().condition() == 0 {
        return Ok(None);
    }
    let size = plan.config().run.batch;
    let cond = plan.data().batch(0, 0, size, plan.key().at("data"))?.cond;
    let dtype = plan.config().run.dtype.dtype();
    let moved = cond.map(|c| c.to_dtype(dtype).and_then(|c| c.to_device(&device_of(plan)))).transpose();
    Ok(moved.map_err(ebm_core::Error::from)?)
}

/// The device of a plan: that of its parameters.
pub(crate) fn device_of(plan: &Plan) -> Device {
    let params = plan.energy().params();
    let first = params.names().next().and_then(|n| params.get(n).map(|t| t.device().clone()));
    first.unwrap_or(Device::Cpu)
}
