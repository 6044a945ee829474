//! Processor time of this process, or of one thread.
#![allow(dead_code)] // each program of this package uses one of the two

/// Seconds of processor time of all threads so far, to a hundredth; `None` where the system does not tell in `/proc`.
pub fn seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold spaces; user and system time are fields 14 and 15, in hundredths.
    let rest = text.rsplit_once(')')?.1;
    let mut ticks = rest.split_whitespace().skip(11);
    let mut next = || ticks.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / 100.0)
}

/// Seconds of processor time of the calling thread so far, to a nanosecond; `None` where the system does not tell in `/proc`.
pub fn thread_seconds() -> Option<f64> {
    // The system brings the number up to date when it looks which thread is next, else at its next tick only.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split_whitespace().next()?.parse::<f64>().ok()? * 1e-9)
}
