//! How two processes learn that they belong to one job before either believes a word of the other.
//!
//! The one that listens sends a number used once; the one that comes answers who it is, with a proof that it knows the
//! job's secret; the answer to that is a verdict. Whoever cannot give the proof is sent away.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::failed;
use super::wire::read_until;
use ebm_core::Result;

/// What both sides begin with.
const GREETING: &[u8; 8] = b"ebm-rnk2";

/// Time for a whole hello.
pub(super) const HELLO: Duration = Duration::from_secs(10);

/// Longest text of a verdict.
const WORDS: usize = 512;

/// What the ranks of one job know and others do not: a token's digest.
#[derive(Clone)]
pub(super) struct Secret([u8; 32]);

impl Secret {
    pub fn of(token: &[u8]) -> Secret {
        Secret(Sha256::digest(token).into())
    }

    /// A new one, with the bytes to pass on.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn new() -> Result<(Secret, [u8; 32])> {
        let token = random()?;
        Ok((Secret::of(&token), token))
    }

    fn proof(&self, nonce: &[u8], said: &[u8]) -> [u8; 32] {
        // All parts have fixed lengths, so no two hellos share a proof.
        Sha256::new().chain_update(self.0).chain_update(nonce).chain_update(said).finalize().into()
    }
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| failed(format!("the system gives no random numbers: {e}")))?;
    Ok(bytes)
}

/// What a rank says of itself: the number of ranks it knows of, its own, and the port at which it can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub size: u32,
    pub rank: u32,
    pub port: u16,
}

impl Hello {
    fn bytes(self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[..4].copy_from_slice(&self.size.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.rank.to_le_bytes());
        bytes[8..].copy_from_slice(&self.port.to_le_bytes());
        bytes
    }

    fn of([a, b, c, d, e, f, g, h, i, j]: [u8; 10]) -> Hello {
        Hello {
            size: u32::from_le_bytes([a, b, c, d]),
            rank: u32::from_le_bytes([e, f, g, h]),
            port: u16::from_le_bytes([i, j]),
        }
    }
}

/// Asks who has connected; `None` from anybody who is not of this job.
pub(super) fn ask(mut whom: &TcpStream, secret: &Secret) -> Option<Hello> {
    let until = Instant::now() + HELLO;
    let nonce: [u8; 16] = random().ok()?;
    whom.set_write_timeout(Some(HELLO)).ok()?;
    whom.write_all(&[&GREETING[..], &nonce].concat()).ok()?;
    let (mut greeting, mut said, mut proof) = ([0; 8], [0; 10], [0; 32]);
    for part in [&mut greeting[..], &mut said[..], &mut proof[..]] {
        read_until(whom, part, until).ok()?;
    }
    (&greeting == GREETING && proof == secret.proof(&nonce, &said)).then(|| Hello::of(said))
}

/// Tells one who has proved to be of this job whether it is taken.
pub(super) fn answer(mut whom: &TcpStream, verdict: Result<(), &str>) -> std::io::Result<()> {
    let words = verdict.err().unwrap_or_default();
    let words = &words.as_bytes()[..words.len().min(WORDS)];
    whom.write_all(&[&(words.len() as u16).to_le_bytes(), words].concat())
}

/// Why a rank was not taken.
pub(super) enum Refused {
    /// The connection broke, or the other side speaks another language: perhaps later.
    Io(std::io::Error),
    /// The other side is of this program and did not believe the proof.
    Proof,
    /// It is of this job and says why.
    Words(String),
}

impl From<std::io::Error> for Refused {
    fn from(e: std::io::Error) -> Self {
        Refused::Io(e)
    }
}

/// Says `hello` to one who listens.
pub(super) fn introduce(mut to: &TcpStream, hello: Hello, secret: &Secret) -> Result<(), Refused> {
    let until = Instant::now() + HELLO;
    to.set_write_timeout(Some(HELLO))?;
    let (mut greeting, mut nonce) = ([0; 8], [0; 16]);
    read_until(to, &mut greeting, until)?;
    if &greeting != GREETING {
        return Err(std::io::Error::other("another program listens there").into());
    }
    read_until(to, &mut nonce, until)?;
    let said = hello.bytes();
    to.write_all(&[&GREETING[..], &said, &secret.proof(&nonce, &said)].concat())?;
    let mut length = [0; 2];
    read_until(to, &mut length, until).map_err(|e| match e.kind() {
        std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => Refused::Io(e),
        _ => Refused::Proof,
    })?;
    let mut words = vec![0; usize::from(u16::from_le_bytes(length)).min(WORDS)];
    read_until(to, &mut words, until)?;
    if words.is_empty() { Ok(()) } else { Err(Refused::Words(String::from_utf8_lossy(&words).into_owned())) }
}
