//! Five plugins of one's own: an energy, a transition, a sampler, an entropy estimator, an objective.

mod backend;
mod denoising;
mod leaping;
mod spread;
mod squared_experts;
mod two_speed;

pub use denoising::Denoising;
pub use leaping::Leaping;
pub use spread::Spread;
pub use squared_experts::SquaredExperts;
pub use two_speed::TwoSpeed;
