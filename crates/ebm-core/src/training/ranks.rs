//! Ranks: processes that train one model together, and all that they say to each other.

use std::fmt::{Debug, Display};
use std::ops::Range;

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};

use crate::{Error, Result, host};

/// What the ranks of a run add up in a step: gradients, and numbers for the report.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// Tensors of any shapes, f32 or f64, the same shapes on every rank.
    pub tensors: Vec<Tensor>,
    /// Numbers, as many on every rank.
    pub numbers: Vec<f64>,
}

impl Sums {
    /// Appends all numbers, tensors first: those of f32 tensors to `narrow`, all others to `wide`.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn pour(&self, narrow: &mut Vec<f32>, wide: &mut Vec<f64>) -> Result<()> {
        for t in &self.tensors {
            match t.dtype() {
                DType::F32 => pour(t, narrow)?,
                _ => wide.extend(host::numbers(t)?),
            }
        }
        wide.extend(&self.numbers);
        Ok(())
    }

    /// Other numbers, as many and in the order of [`Sums::pour`], in the shapes, types and places of these.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn with_poured(&self, mut narrow: &[f32], mut wide: &[f64]) -> Result<Self> {
        let mut tensors = Vec::with_capacity(self.tensors.len());
        for t in &self.tensors {
            let n = t.elem_count();
            let made = if t.dtype() == DType::F32 {
                let (own, rest) = narrow.split_at_checked(n).ok_or_else(Sums::uneven)?;
                narrow = rest;
                Tensor::from_slice(own, t.shape(), &Device::Cpu)?
            } else {
                let (own, rest) = wide.split_at_checked(n).ok_or_else(Sums::uneven)?;
                wide = rest;
                Tensor::from_slice(own, t.shape(), &Device::Cpu)?.to_dtype(t.dtype())?
            };
            tensors.push(made.to_device(t.device())?);
        }
        Ok(Sums { tensors, numbers: wide.to_vec() })
    }

    /// The part of `n` numbers that rank `rank` of `size` adds.
    pub fn slice(n: usize, rank: usize, size: usize) -> Range<usize> {
        n * rank / size..n * (rank + 1) / size
    }

    /// The error of ranks that bring different numbers of addends.
    pub fn uneven() -> Error {
        Error::plugin(
            "ranks",
            "ranks bring different numbers of addends; all must run the same program and configuration",
        )
    }
}

/// Appends the numbers of a tensor, straight from where they lie if that is one piece here.
fn pour(t: &Tensor, out: &mut Vec<f32>) -> Result<()> {
    if t.is_contiguous() {
        let (storage, layout) = t.storage_and_layout();
        if let Storage::Cpu(CpuStorage::F32(all)) = &*storage {
            host::count();
            let start = layout.start_offset();
            out.extend_from_slice(&all[start..start + t.elem_count()]);
            return Ok(());
        }
    }
    out.extend(host::singles(t)?);
    Ok(())
}

/// A group of ranks. All ranks make the same calls in the same order; that is the whole protocol.
///
/// Four calls move bytes and are all an implementation between processors has to write. The sum is made of them, in a
/// fixed order of additions. One between accelerators would override [`Collective::sum`] with the sum of its own
/// library, on tensors where they lie, and need the host only for the numbers.
///
/// A rank that ends without the others would leave them waiting: it calls [`Collective::abort`].
pub trait Collective: Send + Sync + Debug {
    /// Which rank this is, from 0.
    fn rank(&self) -> usize;

    /// Number of ranks, at least 1.
    fn size(&self) -> usize;

    /// Sends `outgoing[r]` to each rank `r`, itself included; returns what each sent here, by rank.
    ///
    /// # Errors
    /// If there is not one message for each rank, or the group is broken.
    fn exchange(&self, outgoing: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>>;

    /// The bytes of every rank, by rank, on every rank; lengths may differ.
    ///
    /// # Errors
    /// If the group is broken.
    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// The bytes of every rank, by rank, on rank 0; `None` elsewhere. For what does not fit on every rank.
    ///
    /// # Errors
    /// If the group is broken.
    fn collect(&self, mine: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>>;

    /// From here on no message is longer than `longest` bytes: a group that takes a length on the word of a sender holds it
    /// against this. Groups whose library checks lengths itself need not listen.
    fn bound(&self, longest: u64) {
        let _ = longest;
    }

    /// Ends all ranks with this exit code.
    fn abort(&self, code: i32) -> !;

    /// The sums over all ranks, with the same bits on each. A rank that has nothing to add because it failed gives
    /// `None`; then nobody gets a sum, and all know it.
    ///
    /// Additions follow a binary tree over the ranks, so that 2ᵏ ranks with 2ᵐ addends each, added in a tree
    /// ([`tree`]), give the same bits for every split of the same 2ᵏ⁺ᵐ addends.
    ///
    /// # Errors
    /// If ranks bring different numbers of addends, or the group is broken.
    fn sum(&self, mine: Option<Sums>) -> Result<Option<Sums>> {
        if self.size() == 1 { Ok(mine) } else { added(self, mine) }
    }
}

/// A run on its own: one rank.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn exchange(&self, outgoing: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        Ok(outgoing)
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![mine.to_vec()])
    }

    fn collect(&self, mine: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>> {
        Ok(Some(vec![mine]))
    }

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}

/// Goes on only if all ranks can: otherwise the first rank that failed gets its own error, and the others
/// [`Error::Rank`] with its message. With one rank it is `mine`.
///
/// # Errors
/// The error of this rank or of another.
pub fn agree<T, E>(ranks: &dyn Collective, mine: Result<T, E>) -> Result<T, E>
where
    E: Display + From<Error>,
{
    if ranks.size() == 1 {
        return mine;
    }
    let word = mine.as_ref().err().map(|e| format!("!{e}")).unwrap_or_default();
    let all = ranks.gather(word.as_bytes()).map_err(E::from)?;
    match all.iter().position(|w| !w.is_empty()) {
        None => mine,
        Some(rank) if rank == ranks.rank() => mine,
        Some(rank) => Err(Error::elsewhere(rank, all[rank].get(1..).unwrap_or_default()).into()),
    }
}

/// Adds in a binary tree: neighbours first, then neighbours of those, and so on. `None` of nothing.
///
/// # Errors
/// If an addition fails.
pub fn tree<T, E>(mut all: Vec<T>, mut add: impl FnMut(T, T) -> Result<T, E>) -> Result<Option<T>, E> {
    while all.len() > 1 {
        let mut next = Vec::with_capacity(all.len().div_ceil(2));
        let mut old = all.into_iter();
        while let Some(a) = old.next() {
            next.push(match old.next() {
                Some(b) => add(a, b)?,
                None => a,
            });
        }
        all = next;
    }
    Ok(all.pop())
}

/// First byte of a message with addends; a rank that failed sends another.
const HERE: u8 = 1;
const FAILED: u8 = 0;

/// The sum as an exchange of slices, of which each rank adds one, and a gathering of the added slices: each
/// number goes twice over the wire whatever the number of ranks.
fn added<C: Collective + ?Sized>(ranks: &C, mine: Option<Sums>) -> Result<Option<Sums>> {
    let (size, rank) = (ranks.size(), ranks.rank());
    let flat = mine.as_ref().map(Flat::of).transpose()?;
    let outgoing = (0..size).map(|to| match &flat {
        None => vec![FAILED],
        Some(f) => f.message(Sums::slice(f.narrow.len(), to, size), Sums::slice(f.wide.len(), to, size)),
    });
    let incoming = ranks.exchange(outgoing.collect())?;
    let (Some(mine), Some(flat)) = (mine, flat) else { return Ok(None) };
    if incoming.iter().any(|m| m.first() != Some(&HERE)) {
        return Ok(None);
    }
    let (narrow, wide) =
        (Sums::slice(flat.narrow.len(), rank, size), Sums::slice(flat.wide.len(), rank, size));
    let read = |m: Vec<u8>| Flat::read(&m, narrow.len(), wide.len()).ok_or_else(Sums::uneven);
    let parts = incoming.into_iter().map(read).collect::<Result<Vec<_>>>()?;
    let own = tree(parts, |a, b| Ok::<_, Error>(a.plus(&b)))?.ok_or_else(Sums::uneven)?;
    let all = ranks.gather(&own.message(0..own.narrow.len(), 0..own.wide.len()))?;
    let mut whole =
        Flat { narrow: Vec::with_capacity(flat.narrow.len()), wide: Vec::with_capacity(flat.wide.len()) };
    for (from, message) in all.iter().enumerate() {
        let (n, w) = (Sums::slice(flat.narrow.len(), from, size), Sums::slice(flat.wide.len(), from, size));
        if !whole.append(message, n.len(), w.len()) {
            return Err(Sums::uneven());
        }
    }
    mine.with_poured(&whole.narrow, &whole.wide).map(Some)
}

/// All numbers of [`Sums`] by type.
struct Flat {
    narrow: Vec<f32>,
    wide: Vec<f64>,
}

impl Flat {
    fn of(sums: &Sums) -> Result<Self> {
        let (mut narrow, mut wide) = (Vec::new(), Vec::new());
        sums.pour(&mut narrow, &mut wide)?;
        Ok(Flat { narrow, wide })
    }

    fn message(&self, narrow: Range<usize>, wide: Range<usize>) -> Vec<u8> {
        let mut out = vec![HERE; 1 + 4 * narrow.len() + 8 * wide.len()];
        // Arrays of known length: these loops become copies.
        let (n, w) = out[1..].split_at_mut(4 * narrow.len());
        let (n, _) = n.as_chunks_mut();
        n.iter_mut().zip(&self.narrow[narrow]).for_each(|(b, v)| *b = v.to_le_bytes());
        let (w, _) = w.as_chunks_mut();
        w.iter_mut().zip(&self.wide[wide]).for_each(|(b, v)| *b = v.to_le_bytes());
        out
    }

    fn read(message: &[u8], narrow: usize, wide: usize) -> Option<Self> {
        let mut out = Flat { narrow: Vec::with_capacity(narrow), wide: Vec::with_capacity(wide) };
        out.append(message, narrow, wide).then_some(out)
    }

    /// Appends the numbers of a message of so many; whether it was one.
    fn append(&mut self, message: &[u8], narrow: usize, wide: usize) -> bool {
        let Some((&HERE, rest)) = message.split_first() else { return false };
        if rest.len() != 4 * narrow + 8 * wide {
            return false;
        }
        let (n, w) = rest.split_at(4 * narrow);
        self.narrow.extend(n.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)));
        self.wide.extend(w.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)));
        true
    }

    fn plus(mut self, other: &Flat) -> Self {
        self.narrow.iter_mut().zip(&other.narrow).for_each(|(a, b)| *a += b);
        self.wide.iter_mut().zip(&other.wide).for_each(|(a, b)| *a += b);
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tree_adds_neighbours_first() {
        let words: Vec<String> = ["a", "b", "c", "d", "e"].map(String::from).to_vec();
        let sum = tree(words, |a, b| Ok::<_, Error>(format!("({a}{b})"))).unwrap();
        assert_eq!(sum.unwrap(), "(((ab)(cd))e)");
        assert!(tree(Vec::<f64>::new(), |a, b| Ok::<_, Error>(a + b)).unwrap().is_none());
    }

    #[test]
    fn slices_are_disjoint_and_cover_all() {
        for (n, size) in [(0, 3), (2, 4), (10, 3), (7, 7)] {
            let all: Vec<usize> = (0..size).flat_map(|r| Sums::slice(n, r, size)).collect();
            assert_eq!(all, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn alone_the_sum_is_the_addend() {
        let x = Tensor::new(&[1f32, 2.0], &Device::Cpu).unwrap();
        let sums = Sums { tensors: vec![x.clone()], numbers: vec![0.1] };
        let out = Alone.sum(Some(sums)).unwrap().unwrap();
        assert_eq!((out.tensors[0].id(), out.numbers[0]), (x.id(), 0.1));
        assert!(Alone.sum(None).unwrap().is_none());
        assert!(agree(&Alone, Err::<(), _>(Error::config("a", "b"))).is_err());
    }
}
