//! Four plugins of one's own: an energy, a transition, a sampler, an entropy estimator.

mod leaping;
mod spread;
mod squared_experts;
mod two_speed;

pub use leaping::Leaping;
pub use spread::Spread;
pub use squared_experts::SquaredExperts;
pub use two_speed::TwoSpeed;
