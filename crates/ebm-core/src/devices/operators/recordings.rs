//! Recordings that outlive their walk: what one holds good for, and where it waits for the next.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::ThreadId;

use candle_core::{DType, Result as TensorResult};

use super::Tape;
use crate::{Batch, EnergyFn};

/// Tells energies apart by what their slopes start: as long as it stays the same, a slope of samples and conditions of the same shapes starts
/// the same work on the same memory. Numbers may have changed there: parameters, and what is derived from them, are written over in place.
///
/// Two are alike only if one is a copy of the other, however long the energy lives that had it; see [`EnergyFn::identity`].
///
/// ```
/// use ebm_core::operators::Identity;
/// let (one, other) = (Identity::new(), Identity::new());
/// assert!(one.same(&one.clone()) && !one.same(&other));
/// // Of a sum: its own beside those of its parts.
/// let sum = one.with([Some(other.clone())]).unwrap();
/// assert!(sum.same(&one.with([Some(other)]).unwrap()) && !sum.same(&one));
/// assert!(one.with([None]).is_none());
/// ```
#[derive(Clone, Debug)]
pub struct Identity(Vec<Arc<()>>);

impl Identity {
    /// Unlike all others.
    #[allow(clippy::new_without_default, reason = "no two are alike")]
    pub fn new() -> Self {
        Identity(vec![Arc::new(())])
    }

    /// That of an energy with this one which asks others for their slopes; `None` if one of them has none.
    pub fn with(&self, parts: impl IntoIterator<Item = Option<Identity>>) -> Option<Identity> {
        let mut all = self.0.clone();
        for part in parts {
            all.extend(part?.0);
        }
        Some(Identity(all))
    }

    /// Whether both are of the same energy in the same state.
    pub fn same(&self, other: &Identity) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| Arc::ptr_eq(a, b))
    }

    fn weak(&self) -> Vec<Weak<()>> {
        self.0.iter().map(Arc::downgrade).collect()
    }
}

/// Work of a device that was recorded, to be started as a whole.
pub trait Recording: Send {
    /// Starts it.
    ///
    /// # Errors
    /// If the device fails.
    fn play(&self) -> TensorResult<()>;
}

/// What a recorded step depends on besides the numbers in memory.
pub(super) struct Title {
    /// Does not keep the energy's memory: a recording goes soon after its energy.
    energy: Vec<Weak<()>>,
    samples: Vec<usize>,
    condition: Option<(Vec<usize>, DType)>,
    /// Whether steps begin with noise; all else of them is on the tape.
    noisy: bool,
    /// Of which the tape has rows.
    steps: usize,
    /// Of the device; see [`TapeOps::mode`](super::TapeOps::mode).
    mode: u64,
    /// Libraries and uploads keep memory by the thread.
    thread: ThreadId,
}

impl Title {
    /// Of a walk of `steps` steps from `at`, some of which begin with noise if `noisy`; `None` if the energy says nothing about what its slope
    /// starts.
    pub fn of(e: &dyn EnergyFn, at: &Batch, noisy: bool, steps: usize, mode: u64) -> Option<Title> {
        Some(Title {
            energy: e.identity()?.weak(),
            samples: at.x.dims().to_vec(),
            condition: at.cond.as_ref().map(|c| (c.dims().to_vec(), c.dtype())),
            noisy,
            steps,
            mode,
            thread: std::thread::current().id(),
        })
    }

    pub fn same(&self, other: &Title) -> bool {
        self.energy.len() == other.energy.len()
            && self.energy.iter().zip(&other.energy).all(|(a, b)| a.ptr_eq(b))
            && (&self.samples, &self.condition) == (&other.samples, &other.condition)
            && (self.noisy, self.steps, self.mode) == (other.noisy, other.steps, other.mode)
            && self.thread == other.thread
    }

    /// Whether the energy is as it was when this was made: nothing may be started that reads memory of one that is gone.
    fn stands(&self) -> bool {
        self.energy.iter().all(|part| part.strong_count() > 0)
    }
}

/// A tape, and the recording of a step on it.
pub(super) struct Reel {
    /// `None` where it serves one walk.
    pub title: Option<Title>,
    pub tape: Tape,
    pub recording: Option<Box<dyn Recording>>,
}

/// How many are kept: those of training, of a second sampler and of two shapes of generated samples.
const MOST: usize = 4;

/// The tapes and recordings of a device that wait for a walk like theirs, latest last. One is with a walk or here, so that no two walks write to
/// one tape; those of energies that are gone are let go when the next walk asks.
#[derive(Default)]
pub struct Reels(Mutex<Vec<Reel>>);

impl Reels {
    /// The one with this title, if it waits here.
    pub(super) fn take(&self, title: &Title) -> Option<Reel> {
        // Let go behind the lock: a device may take its time.
        let (found, _gone) = {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let gone: Vec<Reel> = waiting.extract_if(.., |reel| !Self::stands(reel)).collect();
            let at = waiting.iter().position(|reel| reel.title.as_ref().is_some_and(|t| t.same(title)));
            (at.map(|at| waiting.remove(at)), gone)
        };
        found
    }

    /// Keeps a tape with its recording for the next walk; one without a title is let go.
    pub(super) fn put(&self, reel: Reel) {
        let mut gone = Vec::new();
        if Self::stands(&reel) {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push(reel);
            let over = waiting.len().saturating_sub(MOST);
            gone.extend(waiting.drain(..over));
        }
    }

    fn stands(reel: &Reel) -> bool {
        reel.title.as_ref().is_some_and(Title::stands)
    }
}
