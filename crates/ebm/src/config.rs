//! Configurations as text: changes, checks with line numbers, and only then values.

pub(crate) mod compared;
mod locate;
pub(crate) mod overrides;
mod path;
pub(crate) mod problem;
pub(crate) mod source;
pub(crate) mod validate;

pub use ebm_train::RunConfig;
pub use overrides::Override;
pub use path::{Path, Segment};
pub use problem::{Place, Problem, Problems};
pub use source::{QUICK_START, Source};
pub use validate::wanted;
