//! Colour distortion: brightness, contrast, saturation and hue in random order, then grey.

use ebm_core::bounds::{larger, smaller};
use ebm_core::candle::Tensor;
use ebm_core::{BuildCx, Result, Settings, Transition, TransitionConfig, plugin};

use crate::Augment;
use crate::kit::{Change, Dice, Unit};

/// With a probability, in random order (Chen et al. 2020, strength s): brightness and contrast
/// by factors in `max(0, 1 − 0.8s) .. 1 + 0.8s` (towards black and towards the mean luma), saturation by
/// such a factor (towards luma), hue by up to ±0.4s of a turn. Then grey with a probability. Values are
/// clipped to [0, 1] after each. Grey images have no saturation or hue.
pub(crate) struct Colour {
    pub(crate) strength: f64,
    pub(crate) probability: f64,
    pub(crate) grey: f64,
}

/// A step of the distortion: `own·v + luma·(luma of the pixel) + mean·(mean luma of the image)`, clipped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Blend {
    own: f32,
    luma: f32,
    mean: f32,
}

impl Blend {
    /// Changes no bit.
    const STAY: Blend = Blend { own: 1.0, luma: 0.0, mean: 0.0 };

    /// Towards black.
    pub(crate) fn brightness(factor: f32) -> Blend {
        Blend { own: factor, ..Blend::STAY }
    }

    /// Towards the mean luma.
    pub(crate) fn contrast(factor: f32) -> Blend {
        Blend { own: factor, luma: 0.0, mean: 1.0 - factor }
    }

    /// Towards luma; with factor 0 the grey image.
    pub(crate) fn saturation(factor: f32) -> Blend {
        Blend { own: factor, luma: 1.0 - factor, mean: 0.0 }
    }
}

/// What is done to an image: blends, then the hue turned, then blends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recipe {
    pub(crate) before: Vec<Blend>,
    /// In turns; of colour images only.
    pub(crate) turn: Option<f32>,
    pub(crate) after: Vec<Blend>,
}

/// Shares of the channels in luma `0.299 R + 0.587 G + 0.114 B`; of other than three channels the first is it.
fn luma(channels: usize) -> Vec<f32> {
    match channels {
        3 => vec![0.299, 0.587, 0.114],
        n => (0..n).map(|c| f32::from(u8::from(c == 0))).collect(),
    }
}

/// Images `x (B, C, H, W)`, each by its recipe.
pub(crate) fn distort(x: &Tensor, recipes: &[Recipe]) -> Result<Tensor> {
    let (images, channels, height, width) = x.dims4()?;
    let unit = Unit::on(x.device())?;
    let mut pixels = x.reshape((images, channels, height * width))?;
    pixels = blended(pixels, recipes, |r| &r.before, &unit)?;
    if recipes.iter().any(|r| r.turn.is_some()) {
        pixels = turned(&pixels, recipes, &unit)?;
    }
    Ok(blended(pixels, recipes, |r| &r.after, &unit)?.reshape(x.shape())?)
}

/// `x (B, C, N)` after each image's `blends`: the first ones of all images at once, then the second ones.
fn blended(
    mut x: Tensor,
    recipes: &[Recipe],
    blends: fn(&Recipe) -> &[Blend],
    unit: &Unit,
) -> Result<Tensor> {
    let steps = recipes.iter().map(|r| blends(r).len()).max().unwrap_or(0);
    if steps == 0 {
        return Ok(x);
    }
    let (images, channels, _) = x.dims3()?;
    let shares = luma(channels);
    let at = |step: usize| recipes.iter().map(move |r| blends(r).get(step).unwrap_or(&Blend::STAY));
    // For each step what a channel gets of each channel of its pixel, and what of each channel's mean.
    let mut all = Vec::with_capacity(steps * 2 * images * channels * channels);
    for step in 0..steps {
        for blend in at(step) {
            for to in 0..channels {
                let own = |from| if from == to { blend.own } else { 0.0 };
                all.extend(shares.iter().enumerate().map(|(from, share)| own(from) + blend.luma * share));
            }
        }
        for blend in at(step) {
            (0..channels).for_each(|_| all.extend(shares.iter().map(|share| blend.mean * share)));
        }
    }
    let all = Tensor::from_vec(all, (steps, 2, images, channels, channels), x.device())?;
    for step in 0..steps {
        let now = all.get(step)?;
        let mut next = now.get(0)?.matmul(&x)?;
        if at(step).any(|b| b.mean != 0.0) {
            next = next.broadcast_add(&now.get(1)?.matmul(&x.mean_keepdim(2)?)?)?;
        }
        x = unit.clip(&next)?;
    }
    Ok(x)
}

/// `x (B, 3, N)` with the hue of every pixel turned in hue, saturation, value; images without a turn keep their bits.
fn turned(x: &Tensor, recipes: &[Recipe], unit: &Unit) -> Result<Tensor> {
    let images = recipes.len();
    let (r, g, b) = (x.narrow(1, 0, 1)?, x.narrow(1, 1, 1)?, x.narrow(1, 2, 1)?);
    let (top, low) = (larger(&larger(&r, &g)?, &b)?, smaller(&smaller(&r, &g)?, &b)?);
    let span = (&top - &low)?;
    // A grey pixel has no span: its hue is 0, and it stays. Lost beside any span that there is; its square, by which the derivative
    // divides, is still a number.
    let six = span.affine(6.0, 1e-15)?;
    let red = ((&g - &b)? / &six)?;
    let green = ((&b - &r)? / &six)?.affine(1.0, 1.0 / 3.0)?;
    let blue = ((&r - &g)? / &six)?.affine(1.0, 2.0 / 3.0)?;
    let hue = top.eq(&r)?.where_cond(&red, &top.eq(&g)?.where_cond(&green, &blue)?)?;
    // The channel is `top` within a sixth of a turn of its own hue and falls to `low` over the next sixth. With these
    // shifts its own hue is half a turn away from whole turns.
    let shifts = |r: &Recipe| [1.0 / 2.0, 1.0 / 6.0, 5.0 / 6.0].map(|s| s + r.turn.unwrap_or(0.0));
    let shifts = Tensor::from_vec(recipes.iter().flat_map(shifts).collect(), (images, 3, 1), x.device())?;
    let hue = hue.broadcast_add(&shifts)?;
    // Whole turns are constants to the derivative.
    let away = (&hue - hue.detach().round()?)?.abs()?;
    let fall = unit.clip(&away.affine(-6.0, 2.0)?)?;
    let out = top.broadcast_sub(&fall.broadcast_mul(&span)?)?;
    if recipes.iter().all(|r| r.turn.is_some()) {
        return Ok(out);
    }
    let which: Vec<u8> = recipes.iter().map(|r| u8::from(r.turn.is_some())).collect();
    let which = Tensor::from_vec(which, (images, 1, 1), x.device())?.broadcast_as(x.shape())?;
    Ok(which.where_cond(&out, x)?)
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
    /// Its operations, for a colour image or another.
    fn recipe(&self, colour: bool) -> Recipe {
        let mut recipe = Recipe::default();
        for operation in self.order {
            let blend = match operation {
                0 => Blend::brightness(self.brightness as f32),
                1 => Blend::contrast(self.contrast as f32),
                2 if colour => Blend::saturation(self.saturation as f32),
                3 if colour => {
                    recipe.turn = Some(self.hue as f32);
                    continue;
                }
                _ => continue,
            };
            if recipe.turn.is_none() { &mut recipe.before } else { &mut recipe.after }.push(blend);
        }
        recipe
    }
}

impl Change for Colour {
    fn change(&self, x: &Tensor, dice: &[Dice]) -> Result<Tensor> {
        let colour = x.dim(1)? == 3;
        let recipe = |dice: &Dice| {
            let dice = dice.at("colour");
            let mut recipe = self.jitter(dice).map_or_else(Recipe::default, |j| j.recipe(colour));
            if colour && dice.at("grey").hits(self.grey) {
                recipe.after.push(Blend::saturation(0.0));
            }
            recipe
        };
        distort(x, &dice.iter().map(recipe).collect::<Vec<_>>())
    }

    fn name(&self) -> String {
        format!("colour (strength {})", self.strength)
    }
}

/// Settings of `colour`.
#[derive(Debug, Clone, Settings)]
pub struct ColourConfig {
    /// Factors within ±0.8 of it, hue within ±0.4 of it in turns.
    #[setting(default = 1.0, at_least = 0.0, at_most = 1.25)]
    pub strength: f64,
    /// Probability of the distortion.
    #[setting(default = 0.8, at_least = 0.0, at_most = 1.0)]
    pub probability: f64,
    /// Probability of a grey image.
    #[setting(default = 0.2, at_least = 0.0, at_most = 1.0)]
    pub grey: f64,
}

#[plugin(
    "colour",
    summary = "brightness, contrast, saturation and hue at random, sometimes grey",
    source = "Chen, Kornblith, Norouzi, Hinton 2020; Du, Li, Tenenbaum, Mordatch 2021",
    example = "strength = 1.0"
)]
impl TransitionConfig for ColourConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        let (strength, probability, grey) = (self.strength, self.probability, self.grey);
        Augment::build(cx, Colour { strength, probability, grey })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device};
    use ebm_core::{Chains, Key};

    use super::*;
    use crate::kit::augment::tests::{Image, check, check_uniform, dice, ramp};

    fn pixel(rgb: [f32; 3]) -> Image {
        Image { channels: 3, height: 1, width: 1, data: rgb.to_vec() }
    }

    fn rotated(rgb: [f32; 3], turn: f32) -> Image {
        pixel(rgb).through(|x| distort(x, &[Recipe { turn: Some(turn), ..Recipe::default() }]))
    }

    #[test]
    fn a_third_of_a_turn_exchanges_the_channels() {
        for (turn, want) in
            [(1.0 / 3.0, [0.3, 0.9, 0.5]), (-1.0 / 3.0, [0.5, 0.3, 0.9]), (1.0, [0.9, 0.5, 0.3])]
        {
            let image = rotated([0.9, 0.5, 0.3], turn);
            // Rounding of a few f32 operations.
            assert!(image.data.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{turn}: {image:?}");
        }
        // Half a turn of red is cyan.
        let image = rotated([1.0, 0.0, 0.0], 0.5);
        assert!(image.data.iter().zip([0.0, 1.0, 1.0]).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn grey_has_three_equal_channels_of_the_luma() {
        let grey = Colour { strength: 0.0, probability: 0.0, grey: 1.0 };
        let image = pixel([1.0, 0.5, 0.25]).changed(&grey, dice(0));
        let want = 0.299 + 0.587 * 0.5 + 0.114 * 0.25;
        assert!(image.data.iter().all(|v| (v - want).abs() < 1e-6));
    }

    #[test]
    fn no_strength_changes_nothing() {
        let before = ramp(3, 4, 4);
        let image = before.changed(&Colour { strength: 0.0, probability: 1.0, grey: 0.0 }, dice(3));
        assert!(image.data.iter().zip(&before.data).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    /// The operations as they are told, pixel by pixel in f64.
    fn plainly(image: &Image, jitter: &Jitter) -> Vec<f64> {
        let n = image.height * image.width;
        let mut pixels: Vec<[f64; 3]> =
            (0..n).map(|i| [0, 1, 2].map(|c| f64::from(image.data[c * n + i]))).collect();
        let luma = |p: &[f64; 3]| 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
        for operation in jitter.order {
            let mean = pixels.iter().map(luma).sum::<f64>() / n as f64;
            for p in &mut pixels {
                let grey = luma(p);
                let blend =
                    |p: [f64; 3], f: f64, base: f64| p.map(|v| (f * v + (1.0 - f) * base).clamp(0.0, 1.0));
                *p = match operation {
                    0 => blend(*p, jitter.brightness, 0.0),
                    1 => blend(*p, jitter.contrast, mean),
                    2 => blend(*p, jitter.saturation, grey),
                    _ => {
                        let (top, low) = (p[0].max(p[1]).max(p[2]), p[0].min(p[1]).min(p[2]));
                        let [r, g, b] = *p;
                        let sixth = match top {
                            _ if top == low => 0.0,
                            t if t == r => (g - b) / (top - low),
                            t if t == g => 2.0 + (b - r) / (top - low),
                            _ => 4.0 + (r - g) / (top - low),
                        };
                        [5.0, 3.0, 1.0].map(|own| {
                            let k = (own + sixth + 6.0 * jitter.hue).rem_euclid(6.0);
                            top - (top - low) * k.min(4.0 - k).clamp(0.0, 1.0)
                        })
                    }
                };
            }
        }
        (0..3).flat_map(|c| pixels.iter().map(move |p| p[c])).collect()
    }

    #[test]
    fn a_batch_is_distorted_as_told_in_every_order() {
        let colour = Colour { strength: 1.0, probability: 1.0, grey: 0.0 };
        let jitters: Vec<Jitter> = (0..200).filter_map(|i| colour.jitter(dice(i))).collect();
        let u = Key::root(8).uniform(&Chains::range(0, 200), &[3, 3, 4], DType::F32, &Device::Cpu).unwrap();
        let recipes: Vec<Recipe> = jitters.iter().map(|j| j.recipe(true)).collect();
        let all = distort(&u, &recipes).unwrap();
        for (i, jitter) in jitters.iter().enumerate() {
            let row = |t: &Tensor| t.get(i).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let image = Image { channels: 3, height: 3, width: 4, data: row(&u) };
            for (got, want) in row(&all).iter().zip(plainly(&image, jitter)) {
                // Roundings of f32 below 2e-7 each, times factors of up to 1.8 in each of four operations.
                assert!((f64::from(*got) - want).abs() < 1e-5, "{i}: {got}, {want}, {jitter:?}");
            }
        }
        let orders: std::collections::BTreeSet<_> = jitters.iter().map(|j| j.order).collect();
        assert_eq!(orders.len(), 24);
    }

    /// Every draw of n is one of the law of the published augmentation; bounds hold for a right program but once in ten
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
            let image = ramp(3, 2, 2).changed(&colour, dice(i));
            let mut want = ramp(3, 2, 2);
            if let Some(jitter) = colour.jitter(dice(i).at("colour")) {
                want = want.through(|x| distort(x, &[jitter.recipe(true)]));
            }
            if image != want {
                let only_grey = Recipe { after: vec![Blend::saturation(0.0)], ..Recipe::default() };
                assert_eq!(image, want.through(|x| distort(x, &[only_grey])));
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
