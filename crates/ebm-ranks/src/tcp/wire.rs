//! Messages between ranks that know each other: lengths held against a bound, and signs of life while a rank computes.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ebm_core::{Error, Result};

use super::failed;

/// In place of a message's length: the sender ends the job.
pub(super) const ENDS: u64 = u64::MAX;

/// In place of a message's length: the sender computes and is well. No message follows.
pub(super) const ALIVE: u64 = u64::MAX - 1;

/// How long a rank may be silent, and how often it says that it is alive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub silence: Duration,
    pub alive: Duration,
}

impl Default for Patience {
    /// Two minutes bear a host that swaps or a switch that restarts; twelve signs of life may be lost.
    fn default() -> Self {
        Patience { silence: Duration::from_secs(120), alive: Duration::from_secs(10) }
    }
}

/// An error of the connection to a rank.
pub(super) fn lost(rank: usize, size: usize, e: &std::io::Error) -> Error {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
    failed(match e.kind() {
        UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => {
            format!("rank {rank} of {size} is gone")
        }
        WouldBlock | TimedOut => format!(
            "rank {rank} of {size} gives no sign of life; its process is stopped, or its host or network is down"
        ),
        _ => format!("rank {rank} of {size}: {e}"),
    })
}

pub(super) fn send(mut to: &TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(&(bytes.len() as u64).to_le_bytes())?;
    to.write_all(bytes)
}

/// The next message of `rank`, of at most `longest` bytes.
///
/// # Errors
/// If the rank ends the job, is gone, is silent for longer than the connection's time-out, or announces more.
pub(super) fn receive(mut from: &TcpStream, rank: usize, size: usize, longest: u64) -> Result<Vec<u8>> {
    let length = loop {
        let mut head = [0; 8];
        from.read_exact(&mut head).map_err(|e| lost(rank, size, &e))?;
        match u64::from_le_bytes(head) {
            ENDS => return Err(Error::elsewhere(rank, b"it has ended the job")),
            ALIVE => {}
            length => break length,
        }
    };
    if length > longest {
        return Err(failed(format!(
            "rank {rank} of {size} announces a message of {length} bytes, wanted at most {longest}; do all run the same program?"
        )));
    }
    // Grows with what arrives: memory is not taken on a rank's word.
    let mut bytes = Vec::new();
    let got = from.take(length).read_to_end(&mut bytes).map_err(|e| lost(rank, size, &e))?;
    if got as u64 != length {
        return Err(lost(rank, size, &ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

/// Fills `into` before `until`, however slowly bytes come.
pub(super) fn read_until(mut from: &TcpStream, into: &mut [u8], until: Instant) -> std::io::Result<()> {
    let mut have = 0;
    while have < into.len() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        from.set_read_timeout(Some(left))?;
        match from.read(&mut into[have..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => have += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
