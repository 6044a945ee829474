//! Mirrors images.

use ebm_core::{BuildCx, Param, Result, Transition, TransitionConfig, register};
use serde::{Deserialize, Serialize};

use crate::Augment;
use crate::image::{Change, Dice, Image};

/// What is exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Axis {
    /// Left and right.
    #[default]
    Horizontal,
    /// Top and bottom.
    Vertical,
}

pub(crate) struct Flip {
    pub(crate) probability: f64,
    pub(crate) axis: Axis,
}

impl Change for Flip {
    fn change(&self, image: &mut Image, dice: Dice) {
        if !dice.at("flip").hits(self.probability) {
            return;
        }
        match self.axis {
            Axis::Horizontal => image.rows().for_each(<[f32]>::reverse),
            Axis::Vertical => {
                let (h, w) = (image.height, image.width);
                for plane in image.data.chunks_mut((h * w).max(1)) {
                    for y in 0..h / 2 {
                        let (top, bottom) = plane.split_at_mut((h - 1 - y) * w);
                        top[y * w..][..w].swap_with_slice(&mut bottom[..w]);
                    }
                }
            }
        }
    }

    fn name(&self) -> String {
        "flip".into()
    }
}

/// Settings of `flip`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlipConfig {
    /// Probability that an image is mirrored.
    #[serde(default = "half")]
    pub probability: f64,
    /// What is exchanged.
    #[serde(default)]
    pub axis: Axis,
}

fn half() -> f64 {
    0.5
}

#[typetag::serde(name = "flip")]
impl TransitionConfig for FlipConfig {
    fn build(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Augment::build(cx, Flip { probability: self.probability, axis: self.axis })
    }
}

register! {
    TransitionConfig, "flip" => FlipConfig,
    summary: "mirrors images with a probability",
    source: "Du, Li, Tenenbaum, Mordatch 2021, data augmentation transitions",
    example: "probability = 0.5",
    params: [
        Param::float("probability", "probability that an image is mirrored").at_least(0.0).at_most(1.0).default("0.5"),
        Param::choice("axis", &["horizontal", "vertical"], "exchange left and right, or top and bottom").default("\"horizontal\""),
    ],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::{check, dice, ramp};

    #[test]
    fn mirrors_by_hand() {
        for (axis, want) in [
            (Axis::Horizontal, [3.0, 2.0, 1.0, 6.0, 5.0, 4.0, 9.0, 8.0, 7.0]),
            (Axis::Vertical, [7.0, 8.0, 9.0, 4.0, 5.0, 6.0, 1.0, 2.0, 3.0]),
        ] {
            let mut image = ramp(1, 3, 3);
            image.data = (1..10).map(|v| v as f32).collect();
            Flip { probability: 1.0, axis }.change(&mut image, dice(0));
            assert_eq!(image.data, want);
        }
        let mut image = ramp(3, 4, 5);
        let before = image.clone();
        for _ in 0..2 {
            Flip { probability: 1.0, axis: Axis::Vertical }.change(&mut image, dice(0));
        }
        assert_eq!(image, before);
    }

    #[test]
    fn one_in_two_is_mirrored() {
        let before = ramp(1, 2, 2);
        let flip = Flip { probability: 0.5, axis: Axis::Horizontal };
        let mirrored = (0..10_000).filter(|i| {
            let mut image = before.clone();
            flip.change(&mut image, dice(*i));
            image != before
        });
        // Four standard deviations of a binomial count: sqrt(10,000)/2 = 50.
        assert!((mirrored.count() as f64 - 5000.0).abs() < 200.0);
    }

    #[test]
    fn the_laws_of_a_transition_hold() {
        check(&FlipConfig { probability: 0.5, axis: Axis::Horizontal });
        check(&FlipConfig { probability: 0.5, axis: Axis::Vertical });
    }
}
