//! Ranks over MPI: processes of one or many hosts.

use std::ops::AddAssign;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ebm_core::{Collective, Error, Result, Sums};
use mpi::Threading;
use mpi::datatype::{Partition, PartitionMut};
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Destination, Equivalence, Source};

use crate::floats::{Buffer, Floats, add};

/// Bytes of one message of [`Collective::collect`]: MPI counts in 32 bits.
const PIECE: usize = 1 << 30;

/// All ranks that `mpirun` or `srun` started together. MPI ends when it is dropped, on all ranks together.
pub struct Mpi {
    rank: usize,
    size: usize,
    inner: Mutex<Inner>,
}

/// The communicator is let go before MPI ends.
struct Inner {
    world: SimpleCommunicator,
    floats: Floats,
    _universe: Universe,
}

// SAFETY: MPI is initialised with `Serialized` (any thread may call, one at a time; `start` checks that), and all
// calls go through the mutex. Handles are plain numbers or pointers to objects of the whole process.
unsafe impl Send for Inner {}

impl std::fmt::Debug for Mpi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rank {} of {} over MPI", self.rank, self.size)
    }
}

fn failed(what: impl Into<String>) -> Error {
    Error::plugin("MPI", what.into())
}

/// A length as MPI counts.
fn count(n: usize) -> Result<i32> {
    i32::try_from(n)
        .map_err(|_| failed(format!("a message of {n} bytes is too long, at most {} can be sent", i32::MAX)))
}

/// Counts and starts of pieces laid end to end, and their whole length.
fn layout(lengths: impl Iterator<Item = usize>) -> Result<(Vec<i32>, Vec<i32>, usize)> {
    let (mut counts, mut starts, mut end) = (Vec::new(), Vec::new(), 0);
    for n in lengths {
        counts.push(count(n)?);
        starts.push(count(end)?);
        end += n;
    }
    count(end)?;
    Ok((counts, starts, end))
}

/// The bytes and one more. Rust's empty vectors have the address 1, which Open MPI takes for "in place": a buffer of
/// no bytes must be one of some.
fn with_address(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 1);
    out.extend_from_slice(bytes);
    out.push(0);
    out
}

fn cut(all: &[u8], counts: &[i32]) -> Vec<Vec<u8>> {
    let mut rest = all;
    let take = |n: &i32| {
        let (own, after) = rest.split_at(*n as usize);
        rest = after;
        own.to_vec()
    };
    counts.iter().map(take).collect()
}

/// Adds the numbers of all ranks: each rank gets one slice of all, adds it, and sends it to all.
fn reduce<T>(world: &SimpleCommunicator, buffer: &mut Buffer<T>, rank: usize, size: usize) -> Result<()>
where
    T: Equivalence + Copy + Default + AddAssign,
{
    let Buffer { all, parts } = buffer;
    if all.is_empty() {
        return Ok(());
    }
    let n = all.len();
    let (counts, starts, _) = layout((0..size).map(|r| Sums::slice(n, r, size).len()))?;
    let own = Sums::slice(n, rank, size).len();
    let (from, from_starts, length) = layout(std::iter::repeat_n(own, size))?;
    // Never empty: see `with_address`.
    parts.resize(length.max(1), T::default());
    let parts = &mut parts[..length];
    let sent = Partition::new(&all[..], &counts[..], &starts[..]);
    world.all_to_all_varcount_into(&sent, &mut PartitionMut::new(parts, from, from_starts));
    add(parts, own, size);
    world.all_gather_varcount_into(&parts[..own], &mut PartitionMut::new(&mut all[..], counts, starts));
    Ok(())
}

impl Mpi {
    /// Joins the ranks. Once in a process.
    ///
    /// # Errors
    /// If MPI was started already, or may not be called by more than one thread.
    pub fn start() -> Result<Self> {
        let (universe, threading) = mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| failed("is running in this process already"))?;
        if threading < Threading::Serialized {
            return Err(failed("this MPI library does not allow calls from more than one thread"));
        }
        let world = universe.world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        Ok(Mpi {
            rank,
            size,
            inner: Mutex::new(Inner { world, floats: Floats::default(), _universe: universe }),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn exchange(&self, outgoing: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        if outgoing.len() != self.size {
            return Err(failed(format!("{} messages for {} ranks", outgoing.len(), self.size)));
        }
        let inner = self.inner();
        let (to, to_starts, _) = layout(outgoing.iter().map(Vec::len))?;
        let mut from = vec![0i32; self.size];
        inner.world.all_to_all_into(&to[..], &mut from[..]);
        let (from, from_starts, length) = layout(from.into_iter().map(|n| n as usize))?;
        let sent = with_address(&outgoing.concat());
        let mut received = vec![0u8; length + 1];
        let source = Partition::new(&sent[..sent.len() - 1], to, to_starts);
        let mut target = PartitionMut::new(&mut received[..length], &from[..], from_starts);
        inner.world.all_to_all_varcount_into(&source, &mut target);
        Ok(cut(&received, &from))
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        let inner = self.inner();
        let own = [count(mine.len())?];
        let mut lengths = vec![0i32; self.size];
        inner.world.all_gather_into(&own[..], &mut lengths[..]);
        let (counts, starts, length) = layout(lengths.into_iter().map(|n| n as usize))?;
        let sent = with_address(mine);
        let mut received = vec![0u8; length + 1];
        let mut target = PartitionMut::new(&mut received[..length], &counts[..], starts);
        inner.world.all_gather_varcount_into(&sent[..mine.len()], &mut target);
        Ok(cut(&received, &counts))
    }

    fn collect(&self, mine: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>> {
        let inner = self.inner();
        if self.rank > 0 {
            let root = inner.world.process_at_rank(0);
            root.send(&[mine.len() as u64][..]);
            mine.chunks(PIECE).for_each(|piece| root.send(piece));
            return Ok(None);
        }
        let mut all = vec![mine];
        for rank in 1..self.size {
            let from = inner.world.process_at_rank(count(rank)?);
            let mut length = [0u64];
            from.receive_into(&mut length[..]);
            let mut bytes = vec![0u8; length[0] as usize];
            bytes.chunks_mut(PIECE).for_each(|piece| {
                from.receive_into(piece);
            });
            all.push(bytes);
        }
        Ok(Some(all))
    }

    /// The sum of the trait, to the bit, on numbers instead of bytes.
    fn sum(&self, mine: Option<Sums>) -> Result<Option<Sums>> {
        if self.size == 1 {
            return Ok(mine);
        }
        let mut inner = self.inner();
        let Inner { world, floats, .. } = &mut *inner;
        let poured = mine.map(|sums| floats.pour(&sums).map(|()| sums)).transpose();
        let there = matches!(poured, Ok(Some(_)));
        let own = [u64::from(there), floats.narrow.all.len() as u64, floats.wide.all.len() as u64];
        let mut heads = vec![0u64; own.len() * self.size];
        world.all_gather_into(&own[..], &mut heads[..]);
        let mut heads = heads.chunks_exact(own.len());
        let Some(sums) = poured? else { return Ok(None) };
        if heads.clone().any(|head| head[0] == 0) {
            return Ok(None);
        }
        if heads.any(|head| head != own) {
            return Err(Sums::uneven());
        }
        reduce(world, &mut floats.narrow, self.rank, self.size)?;
        reduce(world, &mut floats.wide, self.rank, self.size)?;
        floats.like(&sums).map(Some)
    }

    fn abort(&self, code: i32) -> ! {
        // Another thread may wait inside of MPI and hold the lock; the end of the process does not wait for it.
        match self.inner.try_lock() {
            Ok(inner) => inner.world.abort(code),
            Err(_) => std::process::abort(),
        }
    }
}
