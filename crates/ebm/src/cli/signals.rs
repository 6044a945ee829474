//! Ctrl-C, TERM and a closed terminal: first finish the step and save, then at once.

use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

/// Installs the handler and returns the flag that it sets.
pub(super) fn stop() -> &'static AtomicBool {
    // A second command in one process finds the handler in place.
    let _ = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(super::INTERRUPTED));
        }
        if super::together::rank() > 0 {
            return;
        }
        super::output::say("finishing the step and saving; once more to stop at once");
    });
    &STOP
}
