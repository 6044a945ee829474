//! Gaussian blur of images.

use ebm_core::candle::Tensor;
use ebm_core::{BuildCx, Result, Settings, Transition, TransitionConfig, plugin};

use crate::Augment;
use crate::kit::along;
use crate::kit::{Change, Dice};

/// With a probability, a separable `kernel × kernel` Gaussian of standard deviation uniform in
/// (0.1, 2) pixels, borders mirrored without repeating the edge.
pub(crate) struct Blur {
    pub(crate) kernel: usize,
    pub(crate) probability: f64,
}

/// Index `i` of a line of `n` pixels mirrored at both ends, edges not repeated.
fn mirror(i: isize, n: usize) -> usize {
    if n == 1 {
        return 0;
    }
    let period = 2 * (n as isize - 1);
    let i = i.rem_euclid(period);
    i.min(period - i) as usize
}

fn weights(kernel: usize, sigma: f64) -> Vec<f32> {
    let middle = (kernel / 2) as f64;
    let w: Vec<f64> = (0..kernel).map(|i| (-0.5 * ((i as f64 - middle) / sigma).powi(2)).exp()).collect();
    let total: f64 = w.iter().sum();
    w.iter().map(|w| (w / total) as f32).collect()
}

/// For each tap of a kernel a matrix `(n, n)` with a 1 from each pixel of a line to the one that the tap sees:
/// `(kernel, n²)`.
fn taps(kernel: usize, n: usize) -> Vec<f32> {
    let middle = kernel as isize / 2;
    let mut seen = vec![0.0; kernel * n * n];
    for (k, tap) in seen.chunks_exact_mut(n * n).enumerate() {
        for (i, row) in tap.chunks_exact_mut(n).enumerate() {
            row[mirror(i as isize + k as isize - middle, n)] = 1.0;
        }
    }
    seen
}

/// Images `x (B, C, H, W)` blurred with their standard deviations in pixels; without one an image stays.
pub(crate) fn soften(x: &Tensor, kernel: usize, sigmas: &[Option<f64>]) -> Result<Tensor> {
    if sigmas.iter().all(Option::is_none) {
        return Ok(x.clone());
    }
    let (_, _, height, width) = x.dims4()?;
    let images = sigmas.len();
    let mut still = vec![0.0; kernel];
    still[kernel / 2] = 1.0;
    let all = sigmas.iter().flat_map(|s| s.map_or_else(|| still.clone(), |s| weights(kernel, s))).collect();
    let all = Tensor::from_vec(all, (images, kernel), x.device())?;
    let lines = |n: usize| -> Result<Tensor> {
        let taps = Tensor::from_vec(taps(kernel, n), (kernel, n * n), x.device())?;
        Ok(all.matmul(&taps)?.reshape((images, n, n))?)
    };
    let rows = lines(height)?;
    let columns = if width == height { rows.clone() } else { lines(width)? };
    along(x, Some(&rows), Some(&columns))
}

impl Blur {
    /// The standard deviation for an image, if it is blurred.
    fn sigma(&self, dice: Dice) -> Option<f64> {
        let dice = dice.at("blur");
        let blurred = self.kernel >= 2 && dice.at("whether").hits(self.probability);
        blurred.then(|| dice.at("sigma").uniform(0.1, 2.0))
    }
}

impl Change for Blur {
    fn change(&self, x: &Tensor, dice: &[Dice]) -> Result<Tensor> {
        soften(x, self.kernel, &dice.iter().map(|d| self.sigma(*d)).collect::<Vec<_>>())
    }

    fn name(&self) -> String {
        format!("blur ({0} × {0})", self.kernel)
    }
}

/// A kernel size that is odd (0: no blur).
pub(crate) fn odd(cx: &BuildCx, setting: &str, kernel: usize) -> Result<usize> {
    if kernel != 0 && kernel.is_multiple_of(2) {
        return Err(cx.refuse(setting, format!("is {kernel}, must be odd, such as {}", kernel - 1)));
    }
    Ok(kernel)
}

/// Settings of `blur`.
#[derive(Debug, Clone, Settings)]
pub struct BlurConfig {
    /// Side of the kernel in pixels, odd.
    #[setting(at_least = 1, at_most = 1023, unit = "pixels")]
    pub kernel: usize,
    /// Probability that an image is blurred.
    #[setting(default = 0.5, at_least = 0.0, at_most = 1.0)]
    pub probability: f64,
}

#[plugin(
    "blur",
    summary = "blurs images with a random Gaussian",
    source = "Chen, Kornblith, Norouzi, Hinton 2020; Du, Li, Tenenbaum, Mordatch 2021",
    example = "kernel = 5"
)]
impl TransitionConfig for BlurConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        let kernel = odd(cx, "kernel", self.kernel)?;
        Augment::build(cx, Blur { kernel, probability: self.probability })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::augment::tests::{check, check_uniform, dice, ramp};

    #[test]
    fn borders_are_mirrored_without_their_edge() {
        let seen: Vec<usize> = (-4..8).map(|i| mirror(i, 4)).collect();
        assert_eq!(seen, [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert_eq!(mirror(-3, 1), 0);
    }

    #[test]
    fn constants_stay_and_points_spread_evenly() {
        let mut image = ramp(2, 5, 6);
        image.data.fill(0.4);
        let image = image.changed(&Blur { kernel: 5, probability: 1.0 }, dice(1));
        assert!(image.data.iter().all(|v| (v - 0.4).abs() < 1e-6));
        let mut image = ramp(1, 7, 7);
        image.data.fill(0.0);
        image.data[3 * 7 + 3] = 1.0;
        let image = image.changed(&Blur { kernel: 3, probability: 1.0 }, dice(1));
        let at = |y: usize, x: usize| image.data[y * 7 + x];
        // Separable: centre times corner is the square of an edge. Everything stays inside.
        assert!((at(3, 3) * at(2, 2) - at(2, 3) * at(3, 2)).abs() < 1e-7);
        assert!((image.data.iter().sum::<f32>() - 1.0).abs() < 1e-6 && at(3, 5) == 0.0);
    }

    #[test]
    fn one_in_two_is_blurred_by_a_uniform_deviation() {
        let blur = Blur { kernel: 5, probability: 0.5 };
        let drawn: Vec<f64> = (0..10_000).filter_map(|i| blur.sigma(dice(i))).collect();
        // Four standard deviations of a binomial count: sqrt(10,000)/2 = 50.
        assert!((drawn.len() as f64 - 5000.0).abs() < 200.0, "{}", drawn.len());
        check_uniform(drawn.into_iter(), 0.1, 2.0);
    }

    #[test]
    fn the_laws_of_a_transition_hold() {
        check(&BlurConfig { kernel: 3, probability: 0.5 });
    }
}
