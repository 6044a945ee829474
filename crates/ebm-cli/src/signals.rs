//! Ctrl-C, TERM and a closed terminal: the run is saved and ends. Only Ctrl-C again ends it at once, and any of them while there is
//! nothing to save yet.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use ebm::core::Stop;

/// Installs the handler and returns the wish that it sets.
pub(crate) fn stop() -> Stop {
    static STOP: OnceLock<Stop> = OnceLock::new();
    // A second command in one process finds the handler in place.
    STOP.get_or_init(|| {
        let stop = Stop::default();
        listen(stop.clone());
        stop
    })
    .clone()
}

/// Whether there is something to save.
static BEGUN: AtomicBool = AtomicBool::new(false);

/// From now on a signal saves before it ends.
pub(crate) fn begun() {
    BEGUN.store(true, Ordering::SeqCst);
}

/// What a person is told who waits; of several ranks the first speaks.
fn say() {
    if crate::ranks::rank() == 0 {
        crate::output::say("stopping and saving; Ctrl-C once more to stop at once");
    }
}

fn end() -> ! {
    std::process::exit(i32::from(crate::outcome::INTERRUPTED))
}

/// What signals mean, one after the other. A closed terminal often says so twice, by the shell and by the system, and launchers
/// send TERM after HUP: none of that is impatience. Ctrl-C twice is.
#[cfg(unix)]
#[derive(Default)]
struct Heard {
    any: bool,
    interrupted: bool,
}

/// What to do about a signal.
#[cfg(unix)]
#[derive(Debug, PartialEq)]
enum Answer {
    /// Stop and save, and say so.
    Stop,
    /// Go on with that.
    GoOn,
    /// End without saving.
    End,
}

#[cfg(unix)]
impl Heard {
    fn answer(&mut self, signal: i32, begun: bool) -> Answer {
        if !begun {
            return Answer::End;
        }
        let interrupt = signal == signal_hook::consts::SIGINT;
        if interrupt && std::mem::replace(&mut self.interrupted, true) {
            return Answer::End;
        }
        if std::mem::replace(&mut self.any, true) && !interrupt { Answer::GoOn } else { Answer::Stop }
    }
}

/// Hears signals in a thread of its own.
#[cfg(unix)]
fn listen(stop: Stop) {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let mut heard = vec![SIGINT, SIGTERM];
    // `nohup` has closed terminals ignored, and they stay so.
    if !is_ignored(SIGHUP) {
        heard.push(SIGHUP);
    }
    let Ok(mut signals) = signal_hook::iterator::Signals::new(heard) else { return };
    std::thread::spawn(move || {
        let mut heard = Heard::default();
        for signal in signals.forever() {
            match heard.answer(signal, BEGUN.load(Ordering::SeqCst)) {
                Answer::Stop => {
                    say();
                    stop.set();
                }
                Answer::GoOn => {}
                Answer::End => end(),
            }
        }
    });
}

/// Whether whoever started this program has a signal ignored.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: asks for the present action without changing it; the struct is read only if it was written.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) == 0
            && now.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(not(unix))]
fn listen(stop: Stop) {
    let _ = ctrlc::set_handler(move || {
        if stop.is_set() || !BEGUN.load(Ordering::SeqCst) {
            end();
        }
        say();
        stop.set();
    });
}

#[cfg(all(test, unix))]
mod tests {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    use super::*;

    fn answers(signals: &[i32]) -> Vec<Answer> {
        let mut heard = Heard::default();
        signals.iter().map(|s| heard.answer(*s, true)).collect()
    }

    #[test]
    fn while_data_are_read_nothing_is_saved_and_any_signal_ends() {
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            assert_eq!(Heard::default().answer(signal, false), Answer::End);
        }
    }

    #[test]
    fn only_a_second_interrupt_ends_without_saving() {
        use Answer::{End, GoOn, Stop};
        assert_eq!(answers(&[SIGHUP, SIGHUP, SIGTERM, SIGHUP]), [Stop, GoOn, GoOn, GoOn]);
        assert_eq!(answers(&[SIGTERM, SIGINT, SIGHUP, SIGINT]), [Stop, Stop, GoOn, End]);
        assert_eq!(answers(&[SIGINT, SIGINT]), [Stop, End]);
    }
}
