//! Colour distortion: brightness, contrast, saturation and hue in random order, then grey.

use ebm_core::{BuildCx, Param, Result, Transition, TransitionConfig, register};
use serde::{Deserialize, Serialize};

use crate::Augment;
use crate::image::{Change, Dice, Image};

/// With a probability, in random order (Chen et al. 2020, strength s; spec 7): brightness and contrast
/// by factors in `max(0, 1 − 0.8s) .. 1 + 0.8s` (towards black and towards the mean luma), saturation by
/// such a factor (towards luma), hue by up to ±0.4s of a turn. Then grey with a probability. Values are
/// clipped to [0, 1] after each. Grey images have no saturation or hue.
pub(crate) struct Colour {
    pub(crate) strength: f64,
    pub(crate) probability: f64,
    pub(crate) grey: f64,
}

/// `factor·v + (1 − factor)·base`, clipped.
fn blend(v: &mut f32, base: f32, factor: f32) {
    *v = (factor * *v + (1.0 - factor) * base).clamp(0.0, 1.0);
}

/// Towards black.
pub(crate) fn brightness(image: &mut Image, factor: f32) {
    image.data.iter_mut().for_each(|v| blend(v, 0.0, factor));
}

/// Towards the mean luma.
pub(crate) fn contrast(image: &mut Image, factor: f32) {
    let luma = image.luma();
    let mean = luma.iter().sum::<f32>() / luma.len().max(1) as f32;
    image.data.iter_mut().for_each(|v| blend(v, mean, factor));
}

/// Towards luma; with factor 0 the grey image.
pub(crate) fn saturation(image: &mut Image, factor: f32) {
    let luma = image.luma();
    let n = luma.len();
    image.data.iter_mut().enumerate().for_each(|(i, v)| blend(v, luma[i % n], factor));
}

/// Turns the hue of every pixel by `turn` in hue, saturation, value.
pub(crate) fn rotate(image: &mut Image, turn: f32) {
    let n = image.height * image.width;
    for i in 0..n {
        let [r, g, b] = [image.data[i], image.data[n + i], image.data[2 * n + i]];
        let (top, low) = (r.max(g).max(b), r.min(g).min(b));
        let span = top - low;
        if span <= 0.0 {
            continue;
        }
        let sixth = if top == r {
            (g - b) / span
        } else if top == g {
            2.0 + (b - r) / span
        } else {
            4.0 + (r - g) / span
        };
        let hue = (sixth / 6.0 + turn).rem_euclid(1.0) * 6.0;
        // The channel falls from `top` to `low` with the distance of the hue from its own.
        let channel = |offset: f32| {
            let k = (offset + hue).rem_euclid(6.0);
            top - span * k.min(4.0 - k).clamp(0.0, 1.0)
        };
        image.data[i] = channel(5.0);
        image.data[n + i] = channel(3.0);
        image.data[2 * n + i] = channel(1.0);
    }
}

/// A distortion as drawn: numbers of the operations in order, and what they do.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Jitter {
    /// 0 brightness, 1 contrast, 2 saturation, 3 hue.
    order: [usize; 4],
    brightness: f64,
    contrast: f64,
    saturation: f64,
    /// In turns.
    hue: f64,
}

impl Colour {
    /// The distortion of an image, if it gets one.
    fn jitter(&self, dice: Dice) -> Option<Jitter> {
        if !dice.at("jitter").hits(self.probability) {
            return None;
        }
        let (reach, turn) = (0.8 * self.strength, 0.4 * self.strength);
        let factor = |name: &str| dice.at(name).uniform((1.0 - reach).max(0.0), 1.0 + reach);
        let mut order = [0, 1, 2, 3];
        for i in (1..4).rev() {
            order.swap(i, dice.at("order").numbered(i).below(i + 1));
        }
        Some(Jitter {
            order,
            brightness: factor("brightness"),
            contrast: factor("contrast"),
            saturation: factor("saturation"),
            hue: dice.at("hue").uniform(-turn, turn),
        })
    }
}

impl Jitter {
    fn apply(&self, image: &mut Image) {
        for operation in self.order {
            match operation {
                0 => brightness(image, self.brightness as f32),
                1 => contrast(image, self.contrast as f32),
                2 if image.is_colour() => saturation(image, self.saturation as f32),
                3 if image.is_colour() => rotate(image, self.hue as f32),
                _ => {}
            }
        }
    }
}

impl Change for Colour {
    fn change(&self, image: &mut Image, dice: Dice) {
        let dice = dice.at("colour");
        if let Some(jitter) = self.jitter(dice) {
            jitter.apply(image);
        }
        if image.is_colour() && dice.at("grey").hits(self.grey) {
            saturation(image, 0.0);
        }
    }

    fn name(&self) -> String {
        format!("colour (strength {})", self.strength)
    }
}

/// Settings of `colour`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColourConfig {
    /// Strength s.
    #[serde(default = "one")]
    pub strength: f64,
    /// Probability of the distortion.
    #[serde(default = "often")]
    pub probability: f64,
    /// Probability of a grey image.
    #[serde(default = "seldom")]
    pub grey: f64,
}

fn one() -> f64 {
    1.0
}

fn often() -> f64 {
    0.8
}

fn seldom() -> f64 {
    0.2
}

#[typetag::serde(name = "colour")]
impl TransitionConfig for ColourConfig {
    fn build(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        let (strength, probability, grey) = (self.strength, self.probability, self.grey);
        Augment::build(cx, Colour { strength, probability, grey })
    }
}

register! {
    TransitionConfig, "colour" => ColourConfig,
    summary: "brightness, contrast, saturation and hue at random, sometimes grey",
    source: "Chen, Kornblith, Norouzi, Hinton 2020; Du, Li, Tenenbaum, Mordatch 2021",
    example: "strength = 1.0",
    params: [
        Param::float("strength", "factors within ±0.8 of it, hue within ±0.4 of it in turns").at_least(0.0).at_most(1.25).default("1.0"),
        Param::float("probability", "probability of the distortion").at_least(0.0).at_most(1.0).default("0.8"),
        Param::float("grey", "probability of a grey image").at_least(0.0).at_most(1.0).default("0.2"),
    ],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::{check, check_uniform, dice, ramp};

    fn pixel(rgb: [f32; 3]) -> Image {
        Image { channels: 3, height: 1, width: 1, data: rgb.to_vec() }
    }

    #[test]
    fn a_third_of_a_turn_exchanges_the_channels() {
        for (turn, want) in
            [(1.0 / 3.0, [0.3, 0.9, 0.5]), (-1.0 / 3.0, [0.5, 0.3, 0.9]), (1.0, [0.9, 0.5, 0.3])]
        {
            let mut image = pixel([0.9, 0.5, 0.3]);
            rotate(&mut image, turn);
            // Rounding of a few f32 operations.
            assert!(image.data.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{turn}: {image:?}");
        }
        // Half a turn of red is cyan.
        let mut image = pixel([1.0, 0.0, 0.0]);
        rotate(&mut image, 0.5);
        assert!(image.data.iter().zip([0.0, 1.0, 1.0]).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn grey_has_three_equal_channels_of_the_luma() {
        let mut image = pixel([1.0, 0.5, 0.25]);
        Colour { strength: 0.0, probability: 0.0, grey: 1.0 }.change(&mut image, dice(0));
        let want = 0.299 + 0.587 * 0.5 + 0.114 * 0.25;
        assert!(image.data.iter().all(|v| (v - want).abs() < 1e-6));
    }

    #[test]
    fn no_strength_changes_nothing() {
        let mut image = ramp(3, 4, 4);
        let before = image.clone();
        Colour { strength: 0.0, probability: 1.0, grey: 0.0 }.change(&mut image, dice(3));
        assert!(image.data.iter().zip(&before.data).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    /// Every draw of n is one of the law that spec 7 states; bounds hold for a right program but once in ten
    /// thousand keys, and the key is fixed.
    #[test]
    fn draws_have_the_stated_laws() {
        for (strength, low, high) in [(1.0, 0.2, 1.8), (0.5, 0.6, 1.4), (1.25, 0.0, 2.0)] {
            let colour = Colour { strength, probability: 0.8, grey: 0.2 };
            let drawn: Vec<Jitter> = (0..10_000).filter_map(|i| colour.jitter(dice(i))).collect();
            // Four standard deviations of a binomial count: sqrt(10,000 · 0.8 · 0.2) = 40.
            assert!((drawn.len() as f64 - 8000.0).abs() < 160.0, "{}", drawn.len());
            let turn = 0.4 * strength;
            check_uniform(drawn.iter().map(|j| j.brightness), low, high);
            check_uniform(drawn.iter().map(|j| j.contrast), low, high);
            check_uniform(drawn.iter().map(|j| j.saturation), low, high);
            check_uniform(drawn.iter().map(|j| j.hue), -turn, turn);
            let mut orders = std::collections::BTreeMap::new();
            drawn.iter().for_each(|j| *orders.entry(j.order).or_insert(0.0) += 1.0);
            let each = drawn.len() as f64 / 24.0;
            let chi2: f64 = orders.values().map(|n: &f64| (n - each).powi(2) / each).sum();
            // The 99.99 % quantile of χ² with 23 degrees of freedom is 58.6.
            assert!(orders.len() == 24 && chi2 < 58.6, "{chi2}");
        }
    }

    #[test]
    fn what_is_drawn_is_what_is_done_and_one_in_five_is_grey() {
        let colour = Colour { strength: 1.0, probability: 0.8, grey: 0.2 };
        let (mut grey, n) = (0.0, 5000);
        for i in 0..n {
            let mut image = ramp(3, 2, 2);
            let mut want = image.clone();
            colour.change(&mut image, dice(i));
            if let Some(jitter) = colour.jitter(dice(i).at("colour")) {
                jitter.apply(&mut want);
            }
            if image != want {
                saturation(&mut want, 0.0);
                assert_eq!(image, want);
                grey += 1.0;
            }
        }
        // Four standard deviations: sqrt(5000 · 0.2 · 0.8) = 28.3. A change that leaves a grey image cannot be
        // told apart, but does not come up: saturation 0 has no probability at strength 1.
        assert!((grey - 1000.0f64).abs() < 114.0, "{grey}");
    }

    #[test]
    fn the_laws_of_a_transition_hold() {
        check(&ColourConfig { strength: 1.0, probability: 0.8, grey: 0.2 });
    }
}
