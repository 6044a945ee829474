//! Gaussian blur of images.

use ebm_core::{BuildCx, Error, Param, Result, Transition, TransitionConfig, register};
use serde::{Deserialize, Serialize};

use crate::Augment;
use crate::image::{Change, Dice, Image};

/// With a probability, a separable `kernel × kernel` Gaussian of standard deviation uniform in
/// (0.1, 2) pixels, borders mirrored without repeating the edge (spec 7).
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

/// One line of `n` pixels, `stride` apart, from `from` to `to`.
fn line(from: &[f32], to: &mut [f32], start: usize, stride: usize, n: usize, weights: &[f32]) {
    let middle = weights.len() as isize / 2;
    for i in 0..n {
        to[start + i * stride] = weights
            .iter()
            .enumerate()
            .map(|(k, w)| w * from[start + mirror(i as isize + k as isize - middle, n) * stride])
            .sum();
    }
}

/// Blurs with standard deviation `sigma` pixels.
pub(crate) fn soften(image: &mut Image, kernel: usize, sigma: f64) {
    let weights = weights(kernel, sigma);
    let (h, w) = (image.height, image.width);
    let mut across = image.data.clone();
    for row in 0..image.channels * h {
        line(&image.data, &mut across, row * w, 1, w, &weights);
    }
    for c in 0..image.channels {
        for x in 0..w {
            line(&across, &mut image.data, c * h * w + x, w, h, &weights);
        }
    }
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
    fn change(&self, image: &mut Image, dice: Dice) {
        if let Some(sigma) = self.sigma(dice) {
            soften(image, self.kernel, sigma);
        }
    }

    fn name(&self) -> String {
        format!("blur ({0} × {0})", self.kernel)
    }
}

/// A kernel size that is odd (0: no blur).
pub(crate) fn odd(path: &str, kernel: usize) -> Result<usize> {
    if kernel != 0 && kernel.is_multiple_of(2) {
        return Err(Error::config(path, format!("is {kernel}, must be odd, such as {}", kernel + 1)));
    }
    Ok(kernel)
}

/// Settings of `blur`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlurConfig {
    /// Side of the kernel in pixels, odd.
    pub kernel: usize,
    /// Probability that an image is blurred.
    #[serde(default = "half")]
    pub probability: f64,
}

fn half() -> f64 {
    0.5
}

#[typetag::serde(name = "blur")]
impl TransitionConfig for BlurConfig {
    fn build(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        let kernel = odd("blur.kernel", self.kernel)?;
        Augment::build(cx, Blur { kernel, probability: self.probability })
    }
}

register! {
    TransitionConfig, "blur" => BlurConfig,
    summary: "blurs images with a random Gaussian",
    source: "Chen, Kornblith, Norouzi, Hinton 2020; Du, Li, Tenenbaum, Mordatch 2021",
    example: "kernel = 5",
    params: [
        Param::int("kernel", "side of the kernel in pixels, odd").at_least(1.0),
        Param::float("probability", "probability that an image is blurred").at_least(0.0).at_most(1.0).default("0.5"),
    ],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::{check, check_uniform, dice, ramp};

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
        Blur { kernel: 5, probability: 1.0 }.change(&mut image, dice(1));
        assert!(image.data.iter().all(|v| (v - 0.4).abs() < 1e-6));
        let mut image = ramp(1, 7, 7);
        image.data.fill(0.0);
        image.data[3 * 7 + 3] = 1.0;
        Blur { kernel: 3, probability: 1.0 }.change(&mut image, dice(1));
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
