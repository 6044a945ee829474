//! Mirrors images.

use ebm_core::candle::Tensor;
use ebm_core::{BuildCx, Result, Settings, Transition, TransitionConfig, plugin};

use crate::Augment;
use crate::kit::{Change, Dice};
use crate::kit::{View, look};

/// What is exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Settings)]
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

impl Flip {
    /// `view` of an image, mirrored if the image is.
    pub(crate) fn of(&self, mut view: View, dice: Dice) -> View {
        if dice.at("flip").hits(self.probability) {
            match self.axis {
                Axis::Horizontal => view.columns.reverse(),
                Axis::Vertical => view.rows.reverse(),
            }
        }
        view
    }
}

impl Change for Flip {
    fn change(&self, x: &Tensor, dice: &[Dice]) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let views: Vec<View> = dice.iter().map(|d| self.of(View::whole(height, width), *d)).collect();
        look(x, &views)
    }

    fn name(&self) -> String {
        "flip".into()
    }
}

/// Settings of `flip`.
#[derive(Debug, Clone, Settings)]
pub struct FlipConfig {
    /// Probability that an image is mirrored.
    #[setting(default = 0.5, at_least = 0.0, at_most = 1.0)]
    pub probability: f64,
    /// Exchange left and right, or top and bottom.
    #[setting(default = Axis::Horizontal)]
    pub axis: Axis,
}

#[plugin(
    "flip",
    summary = "mirrors images with a probability",
    source = "Du, Li, Tenenbaum, Mordatch 2021, data augmentation transitions",
    example = "probability = 0.5"
)]
impl TransitionConfig for FlipConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Augment::build(cx, Flip { probability: self.probability, axis: self.axis })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::augment::tests::{check, dice, ramp};

    #[test]
    fn mirrors_by_hand() {
        for (axis, want) in [
            (Axis::Horizontal, [3.0, 2.0, 1.0, 6.0, 5.0, 4.0, 9.0, 8.0, 7.0]),
            (Axis::Vertical, [7.0, 8.0, 9.0, 4.0, 5.0, 6.0, 1.0, 2.0, 3.0]),
        ] {
            let mut image = ramp(1, 3, 3);
            image.data = (1..10).map(|v| v as f32).collect();
            assert_eq!(image.changed(&Flip { probability: 1.0, axis }, dice(0)).data, want);
        }
        let image = ramp(3, 4, 5);
        let flip = Flip { probability: 1.0, axis: Axis::Vertical };
        assert_eq!(image.changed(&flip, dice(0)).changed(&flip, dice(0)), image);
    }

    #[test]
    fn one_in_two_is_mirrored() {
        let before = ramp(1, 2, 2);
        let flip = Flip { probability: 0.5, axis: Axis::Horizontal };
        let mirrored = (0..10_000).filter(|i| before.changed(&flip, dice(*i)) != before);
        // Four standard deviations of a binomial count: sqrt(10,000)/2 = 50.
        assert!((mirrored.count() as f64 - 5000.0).abs() < 200.0);
    }

    #[test]
    fn the_laws_of_a_transition_hold() {
        check(&FlipConfig { probability: 0.5, axis: Axis::Horizontal });
        check(&FlipConfig { probability: 0.5, axis: Axis::Vertical });
    }
}
