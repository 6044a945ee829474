//! What a run asks of a machine, in operations of its network.

use ebm_core::{Error, Result};
use ebm_train::Plan;

/// Operations of one update, or of one sheet, from which on no machine ends it within hours.
const MOST: f64 = 1e19;

/// Floating-point operations of the slope at one sample, a forward pass and one back to the input; `None` without a layer plan.
pub(crate) fn slope(plan: &Plan) -> Result<Option<f64>> {
    let Some(net) = plan.energy().plan() else { return Ok(None) };
    Ok(Some(ebm_nn::Cost::of(net)?.multiply_adds as f64 * 2.0 * 2.0))
}

/// Refuses an update or a sheet that no machine would end.
///
/// # Errors
/// If there is one, with the setting that means it.
pub(crate) fn within_reach(plan: &Plan) -> Result<()> {
    let Some(slope) = slope(plan)? else { return Ok(()) };
    let (run, generate) = (&plan.config().run, &plan.config().generate);
    for (path, rows, steps) in [
        ("run.batch", run.batch, plan.sampler().steps()),
        ("generate.count", generate.count, plan.generator().steps()),
    ] {
        let all = slope * rows as f64 * steps.max(1) as f64;
        if all > MOST {
            let message = format!(
                "means {all:.1e} operations ({slope:.1e} for a slope, {rows} samples, {steps} steps), hours on any machine: lower the \
                 samples, the steps, or the size of the network"
            );
            return Err(Error::config(path, message));
        }
    }
    Ok(())
}
