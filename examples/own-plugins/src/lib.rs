//! Ten plugins of one's own, one of each family: an energy, a transition, a sampler, an entropy estimator, an objective, a replay
//! buffer, a data source, an optimiser, an observer, a policy.

mod backend;
mod denoising;
mod extremes;
mod leaping;
mod newest;
mod plateau;
mod signs;
mod spiral;
mod spread;
mod squared_experts;
mod two_speed;

pub use denoising::Denoising;
pub use extremes::Extremes;
pub use leaping::Leaping;
pub use newest::Newest;
pub use plateau::Plateau;
pub use signs::Signs;
pub use spiral::Spiral;
pub use spread::Spread;
pub use squared_experts::SquaredExperts;
pub use two_speed::TwoSpeed;

// The Rust of the front page is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct FrontPage;
