//! Panics: faults of this program, told as such at the command's border, with what to report.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use crate::outcome::{Failure, Outcome};

/// Where the first panic was.
static PLACE: Mutex<Option<String>> = Mutex::new(None);

/// Keeps the standard library from telling a user of threads and of a variable for backtraces; who sets that variable still
/// reads the whole story.
pub(crate) fn quiet() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(|at| format!("{}:{}", at.file(), at.line()));
        PLACE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(place.unwrap_or_default());
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            usual(panic);
        }
    }));
}

/// Runs a command; a panic becomes a failure.
pub(crate) fn caught(command: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(command)).unwrap_or_else(|panic| Err(Failure::Fault(told(panic.as_ref()))))
}

/// What a user is told of a panic.
pub(crate) fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("for an unknown reason");
    let place = PLACE.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
    format!(
        "a fault of this program, not of yours: {text} ({place}, version {}); please report this line, the command and its \
         configuration",
        env!("CARGO_PKG_VERSION")
    )
}
