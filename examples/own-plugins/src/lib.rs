//! Plugins of one's own in all ten families, as `ebm new plugin` writes them, and a device.

mod backend;
#[path = "../../../crates/ebm-cli/templates/objective.rs"]
mod denoising;
#[path = "../../../crates/ebm-cli/templates/policy.rs"]
mod halving;
#[path = "../../../crates/ebm-cli/templates/optimiser.rs"]
mod heavy_ball;
#[path = "../../../crates/ebm-cli/templates/transition.rs"]
mod leaping;
#[path = "../../../crates/ebm-cli/templates/observer.rs"]
mod lines;
#[path = "../../../crates/ebm-cli/templates/replay.rs"]
mod newest;
#[path = "../../../crates/ebm-cli/templates/data.rs"]
mod spiral;
#[path = "../../../crates/ebm-cli/templates/entropy.rs"]
mod spread;
#[path = "../../../crates/ebm-cli/templates/energy.rs"]
mod squared_experts;
#[path = "../../../crates/ebm-cli/templates/sampler.rs"]
mod two_speed;

pub use denoising::Denoising;
pub use halving::Halving;
pub use heavy_ball::HeavyBall;
pub use leaping::Leaping;
pub use lines::Lines;
pub use newest::Newest;
pub use spiral::Spiral;
pub use spread::Spread;
pub use squared_experts::SquaredExperts;
pub use two_speed::TwoSpeed;

// The Rust of the front page is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct FrontPage;
