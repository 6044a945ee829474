//! Ridges: densities that are long and narrow, which coarse cells do not see and cells of one shape do not fit.

use crate::error::Result;
use crate::plane::peaks::{Peak, peaks};

/// Doublings of the first square in which a ridge is looked for.
const RINGS: i32 = 5;
/// How much longer than wide a ridge is for which cells of its own shape pay.
const LONG: f64 = 16.0;
/// Doublings of a step along an axis at most.
const DOUBLINGS: usize = 60;

/// The highest narrow peak, and how far the log density falls by about 1/2 from it along either axis, if that is a ridge
/// along an axis: long, straight, and not turned. The lattice of the first square has the spacing `side`.
pub(crate) fn along_an_axis(
    log_density: &mut impl FnMut(&[[f64; 2]]) -> Result<Vec<f64>>,
    side: f64,
) -> Result<Option<(Peak, [f64; 2])>> {
    let mut highest: Option<Peak> = None;
    for ring in 0..RINGS {
        for peak in peaks(log_density, side * f64::from(ring).exp2(), ring > 0)? {
            if highest.is_none_or(|h| peak.log_mass() > h.log_mass()) {
                highest = Some(peak);
            }
        }
    }
    let Some(peak) = highest else { return Ok(None) };
    let mut fall = |by: [f64; 2]| -> Result<f64> {
        let at = |sign: f64| [0, 1].map(|a| peak.at[a] + sign * by[a]);
        let found = log_density(&[at(1.0), at(-1.0)])?;
        Ok(peak.log_density - 0.5 * (found[0] + found[1]))
    };
    let mut far = [0.0; 2];
    for (axis, far) in far.iter_mut().enumerate() {
        let step = |k: usize| [0, 1].map(|a| if a == axis { peak.width * (k as f64).exp2() } else { 0.0 });
        let mut enough = None;
        for k in 0..DOUBLINGS {
            if fall(step(k))? >= 0.5 {
                enough = Some(step(k)[axis]);
                break;
            }
        }
        let Some(enough) = enough else { return Ok(None) };
        *far = enough;
    }
    let (long, short) = if far[0] > far[1] { (0, 1) } else { (1, 0) };
    if far[long] < LONG * far[short] {
        return Ok(None);
    }
    // A turned ridge is higher along one diagonal; a bent one has left its axis three lengths on.
    let turned = 0.5 * (fall(far)? - fall([far[0], -far[1]])?);
    let beside = |sign: f64| {
        let mut by = [0.0; 2];
        (by[long], by[short]) = (3.0 * far[long], sign * far[short]);
        by
    };
    let straight = fall(beside(0.0))? < fall(beside(1.0))?.min(fall(beside(-1.0))?);
    Ok((turned.abs() < 0.25 && straight).then_some((peak, far)))
}
