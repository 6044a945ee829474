//! Outside sets made from an inside set by a rule: every value is a function of the seed and the number of the image.

use std::fmt;
use std::str::FromStr;

use ebm_core::Key;

use crate::error::{Error, Result};
use crate::inputs::set::Piece;

/// Images kept as partners for interpolation.
pub(crate) const PARTNERS: u64 = 1000;

/// How an outside set is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Every value uniform over the range.
    Uniform,
    /// An inside image with Gaussian noise of this deviation, a share of the range, then clamped to the range.
    Noise(f64),
    /// Every channel of an image has one value, uniform over the range.
    Constant,
    /// An inside image blurred by a Gaussian of this deviation, a share of the longer side; its edge goes on outside.
    Blur(f64),
    /// `(1 - w) a + w b` of two different inside images, the paper's with `w` = 1/2.
    Interpolation(f64),
}

/// The names and what their number means.
const RULES: &str = "rule:uniform, rule:constant, rule:noise[:DEVIATION], rule:blur[:SHARE OF THE SIDE], or \
                     rule:interpolation[:WEIGHT]";

impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::invalid("outside", text, format!("{RULES}; it {why}"));
        let mut parts = text.split(':');
        let (Some("rule"), Some(name)) = (parts.next(), parts.next()) else {
            return Err(wrong("is no rule"));
        };
        let number = parts
            .next()
            .map(|n| n.parse::<f64>().map_err(|_| wrong("has a number that is none")))
            .transpose()?;
        let sized = |default: f64, most: f64| match number.unwrap_or(default) {
            n if n > 0.0 && n <= most => Ok(n),
            _ => Err(wrong(&format!("has a number outside of (0, {most}]"))),
        };
        let rule = match name {
            "uniform" | "constant" if number.is_some() => return Err(wrong("takes no number")),
            "uniform" => Rule::Uniform,
            "constant" => Rule::Constant,
            "noise" => Rule::Noise(sized(0.25, 10.0)?),
            "blur" => Rule::Blur(sized(1.0 / 16.0, 1.0)?),
            "interpolation" => Rule::Interpolation(sized(0.5, 0.999)?),
            _ => return Err(wrong("is no rule")),
        };
        if parts.next().is_some() {
            return Err(wrong("has more than one number"));
        }
        Ok(rule)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Uniform => f.write_str("rule:uniform"),
            Rule::Constant => f.write_str("rule:constant"),
            Rule::Noise(n) => write!(f, "rule:noise:{n}"),
            Rule::Blur(n) => write!(f, "rule:blur:{n}"),
            Rule::Interpolation(n) => write!(f, "rule:interpolation:{n}"),
        }
    }
}

/// What a rule needs to know of the inside set.
pub(crate) struct Inside {
    /// Shape of a sample.
    pub shape: Vec<usize>,
    /// Smallest and largest value.
    pub range: (f32, f32),
    /// Up to [`PARTNERS`] samples spread over the set, and their numbers in it.
    pub partners: Vec<f32>,
    /// Number of each partner in the set.
    pub numbers: Vec<u64>,
}

impl Rule {
    /// Refuses samples that the rule makes no sense for.
    pub(crate) fn check(&self, shape: &[usize], count: u64) -> Result<()> {
        if matches!(self, Rule::Blur(_)) && shape.len() != 3 {
            return Err(Error::invalid(
                "outside",
                self,
                format!("images (C, H, W), found samples of shape {shape:?}"),
            ));
        }
        if matches!(self, Rule::Interpolation(_)) && count < 2 {
            return Err(Error::invalid(
                "outside",
                self,
                format!("an inside set of at least two samples, found {count}"),
            ));
        }
        Ok(())
    }

    /// The outside samples for the inside samples of `piece`, whose first has the number `first`.
    pub(crate) fn make(&self, piece: &Piece, first: u64, inside: &Inside, key: Key) -> Piece {
        let (low, high) = inside.range;
        let span = high - low;
        let mut values = piece.floats();
        let width = piece.width();
        for (i, x) in (first..).zip(values.chunks_mut(width.max(1))) {
            match self {
                Rule::Uniform => {
                    key.fill_uniform(i, x);
                    x.iter_mut().for_each(|v| *v = low + span * *v);
                }
                Rule::Noise(sd) => {
                    let mut noise = vec![0f32; width];
                    key.fill_normal(i, &mut noise);
                    let sd = *sd as f32 * span;
                    x.iter_mut().zip(&noise).for_each(|(v, n)| *v = (*v + sd * n).clamp(low, high));
                }
                Rule::Constant => {
                    let channels = if inside.shape.len() == 3 { inside.shape[0] } else { 1 };
                    let mut level = vec![0f32; channels];
                    key.fill_uniform(i, &mut level);
                    let plane = (width / channels.max(1)).max(1);
                    x.chunks_mut(plane).zip(level).for_each(|(c, v)| c.fill(low + span * v));
                }
                Rule::Blur(share) => {
                    let (h, w) = (inside.shape[1], inside.shape[2]);
                    let kernel = gaussian(share * h.max(w) as f64);
                    x.chunks_mut(h * w).for_each(|plane| blur(plane, h, w, &kernel));
                }
                Rule::Interpolation(weight) => {
                    let n = inside.numbers.len();
                    let mut j = key.below(i, n);
                    // Two different images.
                    if inside.numbers[j] == i {
                        j = (j + 1) % n;
                    }
                    let w = *weight as f32;
                    let partner = &inside.partners[j * width..(j + 1) * width];
                    x.iter_mut().zip(partner).for_each(|(v, p)| *v = (1.0 - w) * *v + w * p);
                }
            }
        }
        // What is made is no longer on the grid of levels.
        let values = values.into_iter().map(f64::from).collect();
        Piece { values, places: piece.places.clone(), levels: None }
    }
}

/// One side of a Gaussian, its middle first, to three deviations, of sum 1 with the other side.
fn gaussian(sd: f64) -> Vec<f32> {
    let reach = (3.0 * sd).ceil() as i64;
    let weight = |d: i64| (-0.5 * (d as f64 / sd).powi(2)).exp();
    let sum: f64 = (-reach..=reach).map(weight).sum();
    (0..=reach).map(|d| (weight(d) / sum) as f32).collect()
}

/// Blurs a plane along both axes; beyond the edge the edge's value goes on.
fn blur(plane: &mut [f32], h: usize, w: usize, kernel: &[f32]) {
    let along = |from: &[f32], len: usize, at: &dyn Fn(usize) -> usize, to: &mut [f32]| {
        for i in 0..len {
            let mut sum = kernel[0] * from[at(i)];
            for (d, k) in kernel.iter().enumerate().skip(1) {
                sum += k * (from[at(i.saturating_sub(d))] + from[at((i + d).min(len - 1))]);
            }
            to[at(i)] = sum;
        }
    };
    let mut rows = plane.to_vec();
    for y in 0..h {
        along(plane, w, &|x| y * w + x, &mut rows);
    }
    for x in 0..w {
        along(&rows, h, &|y| y * w + x, plane);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn inside(n: usize) -> (Piece, Inside) {
        let values: Vec<f32> = (0..n * 32).map(|i| (i * i % 97) as f32 / 96.0).collect();
        let places = (0..n as u64).map(|i| ("a".into(), i)).collect();
        let numbers: Vec<u64> = (0..n as u64).collect();
        let inside = Inside { shape: vec![2, 4, 4], range: (0.0, 1.0), partners: values.clone(), numbers };
        let values = values.into_iter().map(f64::from).collect();
        (Piece { values, places, levels: Some(97) }, inside)
    }

    fn rule(text: &str) -> Rule {
        text.parse().unwrap()
    }

    #[test]
    fn a_sample_depends_on_its_number_alone() {
        let (all, known) = inside(10);
        for text in ["rule:uniform", "rule:noise", "rule:constant", "rule:blur", "rule:interpolation"] {
            let make = |piece: &Piece, first| rule(text).make(piece, first, &known, Key::root(3)).values;
            let whole = make(&all, 0);
            let part = Piece {
                values: all.values[4 * 32..].to_vec(),
                places: all.places[4..].to_vec(),
                levels: None,
            };
            assert_eq!(whole[4 * 32..], make(&part, 4), "{text}");
            assert!(whole.iter().all(|v| (0.0..=1.0).contains(v)), "{text}");
            assert_ne!(whole, all.values, "{text}");
            if text != "rule:blur" {
                assert_ne!(whole, rule(text).make(&all, 0, &known, Key::root(4)).values, "{text}");
            }
        }
    }

    #[test]
    fn an_interpolation_is_the_mean_of_two_different_images() {
        let (all, known) = inside(3);
        let made = rule("rule:interpolation").make(&all, 0, &known, Key::root(0)).values;
        for (i, x) in made.chunks(32).enumerate() {
            let other: Vec<f64> = x.iter().zip(&all.values[i * 32..]).map(|(m, a)| 2.0 * m - a).collect();
            let near = |j: usize| {
                other.iter().zip(&all.values[j * 32..(j + 1) * 32]).all(|(a, b)| (a - b).abs() < 1e-6)
            };
            assert_eq!((0..3).filter(|j| near(*j)).count(), 1, "image {i}");
            assert!(!near(i), "image {i} is its own partner");
        }
    }

    #[test]
    fn constants_are_flat_and_blur_keeps_the_mean_of_a_flat_image_and_smooths_an_edge() {
        let (mut all, known) = inside(2);
        let made = rule("rule:constant").make(&all, 0, &known, Key::root(1)).values;
        for plane in made.chunks(16) {
            assert!(plane.iter().all(|v| *v == plane[0]));
        }
        assert_ne!(made[0], made[16], "channels are constant each");
        all.values = [vec![0.5; 32], (0..32).map(|i| if i % 4 < 2 { 0.0 } else { 1.0 }).collect()].concat();
        let made = rule("rule:blur:0.25").make(&all, 0, &known, Key::root(1)).values;
        // Weights sum to 1 within the rounding of f32.
        assert!(made[..32].iter().all(|v| (v - 0.5).abs() < 1e-6));
        let row = &made[32..36];
        assert!(row.windows(2).all(|w| w[0] < w[1]) && row[0] > 0.01 && row[3] < 0.99, "{row:?}");
        assert!((row[0] + row[3] - 1.0).abs() < 1e-6, "{row:?}");
    }

    #[test]
    fn rules_are_read_and_refused() {
        assert_eq!(rule("rule:noise:0.1"), Rule::Noise(0.1));
        for text in [
            "rule:nose",
            "rule:noise:x",
            "rule:noise:0",
            "rule:uniform:1",
            "rule:blur:0.1:2",
            "rule:noise:nan",
        ] {
            let message = text.parse::<Rule>().unwrap_err().to_string();
            assert!(message.contains(text) && message.contains("rule:interpolation"), "{message}");
        }
        assert!(Rule::Blur(0.1).check(&[2], 5).is_err() && Rule::Interpolation(0.5).check(&[2], 1).is_err());
    }
}
