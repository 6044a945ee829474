//! Ctrl-C, TERM and a closed terminal: first finish the step and save, then at once.

use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

/// Installs the handler and returns the flag that it sets.
pub(crate) fn stop() -> &'static AtomicBool {
    // A second command in one process finds the handler in place.
    let _ = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(crate::outcome::INTERRUPTED));
        }
        if crate::ranks::rank() > 0 {
            return;
        }
        crate::output::say("finishing the step and saving; once more to stop at once");
    });
    &STOP
}
