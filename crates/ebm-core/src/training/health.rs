//! What can be found wrong with a run: how bad it is, its cause, the evidence and what helps.

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Nothing to say against it.
    Well,
    /// Worth a look.
    Watch,
    /// Something went wrong.
    Ill,
}

/// Why a run went wrong, as far as its numbers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    /// Updates are too large for the weights.
    LearningRate,
    /// The sampler's steps are too large, or too small to go anywhere.
    StepSize,
    /// The sampler's noise outweighs its gradient.
    Noise,
    /// Nothing holds the samples near the data.
    Unclamped,
    /// Nothing holds the size of the energies.
    MissingPenalty,
    /// Chains do not move, or no longer reach what the energy calls likely.
    ChainsStuck,
    /// The buffer is too small for chains to grow old in.
    BufferTooSmall,
    /// A term of the objective never acts, or outweighs all others.
    Term,
    /// The energy is the same everywhere.
    ConstantEnergy,
    /// No parameter changes.
    Frozen,
    /// Numbers that are not finite.
    NotFinite,
    /// A policy's bound was left, or the numbers do not tell.
    Unknown,
}

impl Cause {
    /// The cause in words.
    pub fn words(self) -> &'static str {
        match self {
            Cause::LearningRate => "learning rate",
            Cause::StepSize => "step size",
            Cause::Noise => "noise",
            Cause::Unclamped => "unclamped samples",
            Cause::MissingPenalty => "missing penalty",
            Cause::ChainsStuck => "chains stuck",
            Cause::BufferTooSmall => "buffer too small",
            Cause::Term => "a term of the objective",
            Cause::ConstantEnergy => "constant energy",
            Cause::Frozen => "nothing is trained",
            Cause::NotFinite => "numbers that are not finite",
            Cause::Unknown => "unknown",
        }
    }
}

/// Something found wrong with a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// Its cause.
    pub cause: Cause,
    /// The last step that was looked at.
    pub step: u64,
    /// What was found, with its numbers: a sentence.
    pub evidence: String,
    /// What to do, and what helped elsewhere; empty where there is nothing to say.
    pub help: String,
}

impl std::fmt::Display for Finding {
    /// Evidence, cause and help in a line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.evidence.trim_end_matches('.'))?;
        if self.cause != Cause::Unknown {
            write!(f, " (cause: {})", self.cause.words())?;
        }
        match self.help.as_str() {
            "" => Ok(()),
            help => write!(f, "; {help}"),
        }
    }
}
