//! Trained models: opened, composed, drawn from, asked for energies and scores, used to complete pictures.
//!
//! ```no_run
//! use ebm::model::{Model, SampleOptions, sample};
//! # use ebm_plugins as _;
//! let model = Model::open("runs/digits".as_ref(), &[])?;
//! let options = SampleOptions { count: 64, out: "samples.png".into(), ..SampleOptions::default() };
//! let drawn = sample(&model, &options)?; // (64, 1, 8, 8), and the picture
//! # Ok::<(), ebm::Error>(())
//! ```

mod arrays;
pub(crate) mod compose;
pub(crate) mod draw;
pub(crate) mod draws;
pub(crate) mod energies;
mod film;
pub(crate) mod moves;
pub(crate) mod open;
mod restore;
mod score;
pub(crate) mod scorer;
pub(crate) mod threshold;

pub use arrays::{ArrayFiles, ScoreArrays, directions, starts};
pub use compose::{compose, reads_as_line};
pub use draw::{SampleOptions, drawn_under, natural_file, sample};
pub use film::Copying;
pub use open::{MOST_STEPS, Model, Sampling};
pub use restore::{Restoration, RestoreOptions, restore};
pub use score::{RowSink, ScoreOptions, ScoreRow, score, score_lines, score_terms, score_values};
pub use scorer::ScoreKind;
pub use threshold::{Threshold, ThresholdOptions, fit_threshold};
