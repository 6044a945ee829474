//! Why there is no integral over the plane.

use serde::Serialize;

/// Why a density of the plane was not integrated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum PlaneRefusal {
    /// Every doubling of the square holds more than the one before.
    #[error(
        "the mass grows with the square, followed to {half:.3e} from its centre: the density cannot be normalised as far as that"
    )]
    Improper {
        /// Half the longer side of the square.
        half: f64,
    },
    /// The tails are too heavy for the largest square.
    #[error("about {:.2} % of the mass lies more than {half:.3e} from the centre, and squares do not get larger", 100.0 * outside)]
    HeavyTails {
        /// Half the longer side of the square.
        half: f64,
        /// The share outside, extrapolated.
        outside: f64,
    },
    /// Structure that is too fine, or a density that is too rough.
    #[error("after {points} points the cells are still wrong by {:.2} % of the mass", 100.0 * error)]
    Unresolved {
        /// Points that were evaluated.
        points: usize,
        /// The estimated error, as a share.
        error: f64,
    },
    /// The density is 0 wherever it was asked for.
    #[error("the density is 0 at all {points} points within {half:.3e} of the centre")]
    Nothing {
        /// Points that were evaluated.
        points: usize,
        /// Half the longer side of the square.
        half: f64,
    },
}
