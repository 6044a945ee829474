//! Work of any length in a thread of its own, while Python's looks after signals and hears how far it is.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use ebm::core::Stop;
use pyo3::prelude::*;

use crate::error::{Failure, caught};

/// How long a signal waits at most until it is seen.
const LOOK: Duration = Duration::from_millis(50);
/// Stack of the thread: that of a main thread, as a network's depth may need.
const STACK: usize = 8 << 20;
/// What may be told before the teller waits for the listener.
const QUEUE: usize = 64;

/// What work came to, and the exception that ended it early: a signal's, or one that was raised while it was told of.
pub(crate) struct Watched<T> {
    pub result: Result<T, Failure>,
    pub raised: Option<PyErr>,
}

impl<T> Watched<T> {
    /// The result, or what stands in its way.
    pub fn into_result(self, py: Python<'_>) -> PyResult<T> {
        match self.raised {
            Some(raised) => Err(raised),
            None => self.result.map_err(|failure| failure.raise(py)),
        }
    }
}

/// Runs `work` and calls `told` with all that it sends. On a signal that raises (Ctrl-C) and when `told` raises, `stop` is set
/// and the end of the work awaited.
pub(crate) fn watched<T: Send, M: Send>(
    py: Python<'_>,
    stop: &Stop,
    mut told: impl FnMut(Python<'_>, M) -> PyResult<()>,
    work: impl FnOnce(SyncSender<M>) -> ebm::Result<T> + Send,
) -> Watched<T> {
    let (sender, mut receiver) = sync_channel(QUEUE);
    thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || caught(|| work(sender)));
        let worker = match worker {
            Ok(worker) => worker,
            Err(e) => {
                let result = Err(Failure::Fault(format!("no thread can be started: {e}")));
                return Watched { result, raised: None };
            }
        };
        let mut raised = None;
        loop {
            let message;
            (receiver, message) = py.detach(|| heard(receiver));
            let looked = match message {
                Ok(message) if raised.is_none() => told(py, message),
                Ok(_) => Ok(()),
                Err(RecvTimeoutError::Timeout) => py.check_signals(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Err(e) = looked {
                stop.set();
                raised.get_or_insert(e);
            }
        }
        let result = py.detach(|| worker.join());
        Watched { result: result.unwrap_or_else(|_| Err(Failure::Fault("a thread ended".into()))), raised }
    })
}

fn heard<M>(from: Receiver<M>) -> (Receiver<M>, Result<M, RecvTimeoutError>) {
    let message = from.recv_timeout(LOOK);
    (from, message)
}

/// [`watched`] for work that tells nothing.
pub(crate) fn interruptible<T: Send>(
    py: Python<'_>,
    stop: &Stop,
    work: impl FnOnce() -> ebm::Result<T> + Send,
) -> PyResult<T> {
    // The sender lives as long as the work: its end is what the listener waits for.
    let work = |alive: SyncSender<()>| {
        let result = work();
        drop(alive);
        result
    };
    watched(py, stop, |_, ()| Ok(()), work).into_result(py)
}
