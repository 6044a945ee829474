//! The augmentation of the published program: crop, flip, colour, blur.

use ebm_core::candle::Tensor;
use ebm_core::{BuildCx, Result, Settings, Transition, TransitionConfig, plugin};

use crate::Augment;
use crate::blur::{Blur, odd};
use crate::colour::Colour;
use crate::crop::{Crop, FOUR_THIRDS};
use crate::flip::{Axis, Flip};
use crate::kit::{Change, Dice};
use crate::kit::{View, look};

/// A random resized crop, a horizontal flip (p ½), colour distortion (p 0.8) and grey (p 0.2), then
/// blur (p ½) if asked (Chen, Kornblith, Norouzi, Hinton 2020; settings as in the published program).
pub(crate) struct Simclr {
    crop: Crop,
    flip: Flip,
    colour: Colour,
    blur: Blur,
}

impl Change for Simclr {
    fn change(&self, x: &Tensor, dice: &[Dice]) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let view = |d: &Dice| self.flip.of(self.crop.part(height, width, *d).view(height, width), *d);
        let x = look(x, &dice.iter().map(view).collect::<Vec<View>>())?;
        self.blur.change(&self.colour.change(&x, dice)?, dice)
    }

    fn name(&self) -> String {
        "simclr".into()
    }
}

/// Settings of `simclr`; defaults are those of CIFAR-10.
#[derive(Debug, Clone, Settings)]
pub struct SimclrConfig {
    /// Smallest share of the area that a crop keeps.
    #[setting(default = 0.08, above = 0.0, at_most = 1.0)]
    pub smallest_area: f64,
    /// Strength of the colour distortion.
    #[setting(default = 1.0, at_least = 0.0, at_most = 1.25)]
    pub strength: f64,
    /// Side of the blur's kernel, odd; 0 for none.
    #[setting(default = 0, at_least = 0, at_most = 1023, unit = "pixels")]
    pub blur: usize,
    /// Whether images are mirrored, one in two.
    #[setting(default = true)]
    pub flip: bool,
}

#[plugin(
    "simclr",
    summary = "crop, flip, colour and blur: the published augmentation transition",
    source = "Chen, Kornblith, Norouzi, Hinton 2020; Du, Li, Tenenbaum, Mordatch 2021, section 3.3",
    example = "smallest_area = 0.08\nstrength = 0.5\nblur = 5"
)]
impl TransitionConfig for SimclrConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        let simclr = Simclr {
            crop: Crop { smallest_area: self.smallest_area, aspect: FOUR_THIRDS },
            flip: Flip { probability: if self.flip { 0.5 } else { 0.0 }, axis: Axis::Horizontal },
            colour: Colour { strength: self.strength, probability: 0.8, grey: 0.2 },
            blur: Blur { kernel: odd(cx, "blur", self.blur)?, probability: 0.5 },
        };
        Augment::build(cx, simclr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::augment::tests::check;

    #[test]
    fn the_laws_of_a_transition_hold() {
        check(&SimclrConfig { smallest_area: 0.3, strength: 0.5, blur: 3, flip: true });
    }
}
