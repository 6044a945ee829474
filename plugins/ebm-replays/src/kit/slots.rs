//! Samples in the memory of a device: draws gather there and puts scatter there.

use std::collections::BTreeMap;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Chains, Key, Result};

use super::levels::Levels;

/// Rows of equal length, F32 or bytes, in slots `0..len` of one tensor, which is written in place.
pub(crate) struct Slots {
    levels: Option<Levels>,
    /// Rows of a full buffer; the tensor has room for more only when there are more.
    capacity: usize,
    len: usize,
    /// `(room, width)`.
    values: Tensor,
}

/// Most pieces that are copied one after another; more go by one scatter.
const PIECES: usize = 4;

impl Slots {
    /// None yet; bytes if there are `levels`.
    ///
    /// # Errors
    /// If the device fails; so for all methods.
    pub fn new(device: &Device, width: usize, capacity: usize, levels: Option<Levels>) -> Result<Self> {
        let dtype = if levels.is_some() { DType::U8 } else { DType::F32 };
        let values = Tensor::zeros((1, width), dtype, device)?;
        Ok(Slots { levels, capacity, len: 0, values })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn dtype(&self) -> DType {
        self.values.dtype()
    }

    fn room(&self) -> usize {
        self.values.dims()[0]
    }

    fn width(&self) -> usize {
        self.values.dims()[1]
    }

    /// Samples `(n, ...)` as rows `(n, width)`.
    pub fn rows(&self, x: &Tensor) -> Result<Tensor> {
        let (n, device) = (x.dims()[0], self.values.device());
        let x = x.to_device(device)?.to_dtype(DType::F32)?;
        let x = x.reshape((n, self.width()))?.contiguous()?;
        match &self.levels {
            // Not every device computes with empty tensors.
            Some(l) if n > 0 => l.write_all(&x),
            _ => Ok(x),
        }
    }

    /// Replaces slots `start..end`, which exist, by rows `from..to`.
    pub fn splice(&mut self, start: usize, end: usize, rows: &Tensor, from: usize, to: usize) -> Result<()> {
        let (n, len) = (to - from, self.len);
        if end - start == n || start == len {
            return self.copy(start, rows, from, n);
        }
        let pieces = [
            self.values.narrow(0, 0, start)?,
            rows.narrow(0, from, n)?,
            self.values.narrow(0, end, len - end)?,
        ];
        self.rebuild(self.room(), &pieces)
    }

    /// Writes rows to slots, in order: pairs of slot and row. A slot may be the next one that there is not.
    pub fn write(&mut self, pairs: &[(usize, usize)], rows: &Tensor) -> Result<()> {
        let mut last = BTreeMap::new();
        for (slot, row) in pairs {
            last.insert(*slot, *row);
        }
        // Slot, row and number of those that follow one another in both.
        let mut pieces: Vec<(usize, usize, usize)> = Vec::new();
        for (slot, row) in &last {
            match pieces.last_mut() {
                Some((s, r, n)) if (*s + *n, *r + *n) == (*slot, *row) => *n += 1,
                _ => pieces.push((*slot, *row, 1)),
            }
        }
        // Metal has no kernel that scatters bytes; CUDA has all that is used here.
        let scatters = !(self.values.device().is_metal() && self.dtype() == DType::U8);
        if pieces.len() <= PIECES || !scatters {
            return pieces.into_iter().try_for_each(|(slot, row, n)| self.copy(slot, rows, row, n));
        }
        let end = last.last_key_value().map_or(0, |(slot, _)| slot + 1);
        self.grow(end)?;
        let (n, width) = (last.len(), self.width());
        let rows = rows.index_select(&self.numbers(last.values().map(|row| *row as u32))?, 0)?;
        let slots = self.numbers(last.keys().map(|slot| *slot as u32))?;
        let slots = slots.reshape((n, 1))?.broadcast_as((n, width))?.contiguous()?;
        self.values.scatter_set(&slots, &rows, 0)?;
        self.len = self.len.max(end);
        Ok(())
    }

    /// The rows in `slots`, `(n, width)`, F32; bytes get noise from `noise` by row, as rows may hold the same slot twice.
    pub fn read(&self, slots: &[u64], noise: Key) -> Result<Tensor> {
        let rows = self.values.index_select(&self.numbers(slots.iter().map(|slot| *slot as u32))?, 0)?;
        let Some(levels) = &self.levels else { return Ok(rows) };
        let chains = Chains::range(0, slots.len());
        levels.read_all(&rows, &noise.uniform(&chains, &[self.width()], DType::F32, rows.device())?)
    }

    /// All rows as they are kept, `(len, width)`, on the CPU.
    pub fn save(&self) -> Result<Tensor> {
        Ok(self.values.narrow(0, 0, self.len)?.to_device(&Device::Cpu)?.force_contiguous()?)
    }

    /// Replaces all rows by these of the same form, wherever they are: `(n, width)`.
    pub fn load(&mut self, rows: Option<&Tensor>) -> Result<()> {
        let rows = rows.map(|r| r.to_device(self.values.device())?.contiguous()).transpose()?;
        self.rebuild(rows.as_ref().map_or(0, |r| r.dims()[0]), rows.as_slice())
    }

    /// Copies `n` rows from row `from` to the slots from `start` on, of which the last may be new.
    fn copy(&mut self, start: usize, rows: &Tensor, from: usize, n: usize) -> Result<()> {
        if n > 0 {
            self.grow(start + n)?;
            self.values.slice_set(&rows.narrow(0, from, n)?, 0, start)?;
            self.len = self.len.max(start + n);
        }
        Ok(())
    }

    /// Makes room for `len` rows, and for as many again up to the capacity.
    fn grow(&mut self, len: usize) -> Result<()> {
        if len <= self.room() {
            return Ok(());
        }
        let room = len.max(self.capacity.min(2 * self.room()));
        self.rebuild(room, &[self.values.narrow(0, 0, self.len)?])
    }

    /// Moves to a tensor with room for at least `room` rows whose first rows are these.
    fn rebuild(&mut self, room: usize, pieces: &[Tensor]) -> Result<()> {
        let len = pieces.iter().map(|p| p.dims()[0]).sum();
        let values = Tensor::zeros((room.max(len).max(1), self.width()), self.dtype(), self.values.device())?;
        let mut at = 0;
        for piece in pieces.iter().filter(|p| p.dims()[0] > 0) {
            values.slice_set(piece, 0, at)?;
            at += piece.dims()[0];
        }
        (self.values, self.len) = (values, len);
        Ok(())
    }

    fn numbers(&self, of: impl Iterator<Item = u32>) -> Result<Tensor> {
        let all: Vec<u32> = of.collect();
        let n = all.len();
        Ok(Tensor::from_vec(all, n, self.values.device())?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn room_grows_by_doubling_up_to_the_capacity_and_beyond_it_by_what_comes() {
        let mut s = Slots::new(&Device::Cpu, 2, 10, None).unwrap();
        let rows = Tensor::zeros((3, 2), DType::F32, &Device::Cpu).unwrap();
        let mut rooms = Vec::new();
        for _ in 0..5 {
            s.splice(s.len(), s.len(), &rows, 0, 3).unwrap();
            rooms.push((s.len(), s.room()));
        }
        assert_eq!(rooms, [(3, 3), (6, 6), (9, 10), (12, 12), (15, 15)]);
    }

    #[test]
    fn many_pieces_and_a_new_slot_go_by_one_scatter() {
        let column = |v: Vec<f32>| Tensor::from_vec(v, ((), 1), &Device::Cpu).unwrap();
        let mut s = Slots::new(&Device::Cpu, 1, 10, None).unwrap();
        s.splice(0, 0, &column((0..9).map(|i| i as f32).collect()), 0, 9).unwrap();
        let rows = column((10..16).map(|i| i as f32).collect());
        s.write(&[(6, 0), (0, 1), (2, 2), (4, 3), (6, 4), (9, 5)], &rows).unwrap();
        let want = [11.0, 1.0, 12.0, 3.0, 13.0, 5.0, 14.0, 7.0, 8.0, 15.0];
        assert_eq!(s.save().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap(), want);
    }
}
