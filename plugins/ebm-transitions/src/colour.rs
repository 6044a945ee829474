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

fn towards_luma(image: &mut Image, factor: f32) {
    let luma = image.luma();
    let n = luma.len();
    image.data.iter_mut().enumerate().for_each(|(i, v)| blend(v, luma[i % n], factor));
}

/// Turns the hue of every pixel by `turn` in hue, saturation, value.
fn rotate(image: &mut Image, turn: f32) {
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

impl Change for Colour {
    fn change(&self, image: &mut Image, dice: Dice) {
        let dice = dice.at("colour");
        if dice.at("jitter").hits(self.probability) {
            let reach = 0.8 * self.strength;
            let factor = |name: &str| dice.at(name).uniform((1.0 - reach).max(0.0), 1.0 + reach) as f32;
            let mut order = [0, 1, 2, 3];
            for i in (1..4).rev() {
                order.swap(i, dice.at("order").numbered(i).below(i + 1));
            }
            for operation in order {
                match operation {
                    0 => {
                        let f = factor("brightness");
                        image.data.iter_mut().for_each(|v| blend(v, 0.0, f));
                    }
                    1 => {
                        let luma = image.luma();
                        let mean = luma.iter().sum::<f32>() / luma.len().max(1) as f32;
                        let f = factor("contrast");
                        image.data.iter_mut().for_each(|v| blend(v, mean, f));
                    }
                    2 if image.is_colour() => towards_luma(image, factor("saturation")),
                    3 if image.is_colour() => {
                        let turn = 0.4 * self.strength;
                        rotate(image, dice.at("hue").uniform(-turn, turn) as f32);
                    }
                    _ => {}
                }
            }
        }
        if image.is_colour() && dice.at("grey").hits(self.grey) {
            towards_luma(image, 0.0);
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
    use crate::image::tests::{check, dice, ramp};

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

    #[test]
    fn the_laws_of_a_transition_hold() {
        check(&ColourConfig { strength: 1.0, probability: 0.8, grey: 0.2 });
    }
}
