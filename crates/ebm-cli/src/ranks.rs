//! A command as one of several ranks: the first one speaks, and one that fails ends all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use ebm::Error;
use ebm::core::Collective;
use ebm::ranks::Launch;

use crate::outcome::{End, Failure, Outcome};
use crate::output::say;

/// Exit code of a program that panics.
const PANICKED: i32 = 101;

/// Time for the rank whose error it is to say it, before one that heard of it ends the job.
const GRACE: Duration = Duration::from_secs(2);

/// Which rank this process was launched as; 0 if nothing launched several.
pub(crate) fn rank() -> usize {
    Launch::detect().map_or(0, |launch| launch.rank)
}

/// What every rank is about to say of itself is said by the first. The launcher ends the others while they wait here;
/// if it does not, they say it too.
pub(crate) fn after_the_first() {
    if rank() > 0 {
        std::thread::sleep(GRACE);
    }
}

/// Runs `command` as one of the ranks that were launched together, or alone.
pub(crate) fn run(command: impl FnOnce(Arc<dyn Collective>) -> Outcome) -> Outcome {
    let ranks = ebm::ranks::open().inspect_err(|_| after_the_first())?;
    if ranks.size() == 1 {
        return command(ranks);
    }
    let ended = catch_unwind(AssertUnwindSafe(|| command(ranks.clone())));
    let rank = ranks.rank();
    match ended {
        Ok(Err(diverged @ Failure::Error(Error::Diverged(_) | Error::Ill(_)))) => {
            // All ranks know it, and end together.
            if rank == 0 {
                say(&format!("error: {diverged}"));
            }
            Ok(End::With(diverged.exit_code()))
        }
        Ok(ended @ (Ok(_) | Err(Failure::Closed))) => ended,
        Ok(Err(failure)) => {
            if matches!(failure, Failure::Error(Error::Core(ebm::core::Error::Rank { .. }))) {
                std::thread::sleep(GRACE);
            }
            say(&format!("error: rank {rank} of {}: {failure}", ranks.size()));
            ranks.abort(i32::from(failure.exit_code()))
        }
        Err(panic) => {
            let fault = crate::fault::told(panic.as_ref());
            say(&format!("error: rank {rank} of {}: {fault}", ranks.size()));
            ranks.abort(PANICKED)
        }
    }
}
