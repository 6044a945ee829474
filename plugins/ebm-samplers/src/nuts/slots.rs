//! Rows of numbers that parts of a tree share and give back.

use std::cell::RefCell;

thread_local! {
    /// Memory of slots that are gone: trees come and go by the thousand, and the system takes a page for each anew.
    static SPARE: RefCell<Vec<Memory>> = const { RefCell::new(Vec::new()) };
}

/// Most that a thread keeps for the next trees: chains, and numbers of each.
const KEPT: (usize, usize) = (64, 1 << 16);

#[derive(Default)]
struct Memory {
    numbers: Vec<f64>,
    holders: Vec<u32>,
    free: Vec<Slot>,
}

/// Rows of one width in one piece of memory, each counted by how many hold it.
pub(super) struct Slots {
    width: usize,
    memory: Memory,
}

impl Drop for Slots {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        if memory.numbers.capacity() <= KEPT.1 {
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < KEPT.0 {
                    spare.push(memory);
                }
            });
        }
    }
}

/// The number of a row.
pub(super) type Slot = usize;

impl Slots {
    /// No rows yet, of `width` numbers.
    pub(super) fn new(width: usize) -> Self {
        let mut memory = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        memory.numbers.clear();
        memory.holders.clear();
        memory.free.clear();
        Slots { width, memory }
    }

    /// A row with what `from` has, held `times` times.
    pub(super) fn put(&mut self, from: &[f64], times: u32) -> Slot {
        let slot = self.take();
        self.memory.holders[slot] = times;
        self.at_mut(slot).copy_from_slice(from);
        slot
    }

    /// A row with any numbers, held once.
    pub(super) fn take(&mut self) -> Slot {
        match self.memory.free.pop() {
            Some(slot) => {
                self.memory.holders[slot] = 1;
                slot
            }
            None => {
                self.memory.numbers.resize(self.memory.numbers.len() + self.width, 0.0);
                self.memory.holders.push(1);
                self.memory.holders.len() - 1
            }
        }
    }

    /// So many more hold it.
    pub(super) fn hold(&mut self, slot: Slot, more: u32) {
        self.memory.holders[slot] += more;
    }

    /// One who held it does no longer.
    pub(super) fn release(&mut self, slot: Slot) {
        self.memory.holders[slot] -= 1;
        if self.memory.holders[slot] == 0 {
            self.memory.free.push(slot);
        }
    }

    pub(super) fn is_shared(&self, slot: Slot) -> bool {
        self.memory.holders[slot] > 1
    }

    pub(super) fn at(&self, slot: Slot) -> &[f64] {
        &self.memory.numbers[slot * self.width..(slot + 1) * self.width]
    }

    pub(super) fn at_mut(&mut self, slot: Slot) -> &mut [f64] {
        &mut self.memory.numbers[slot * self.width..(slot + 1) * self.width]
    }

    /// Rows that are all different, to be written; `None` if two are the same.
    pub(super) fn several<const N: usize>(&mut self, slots: [Slot; N]) -> Option<[&mut [f64]; N]> {
        let rows = slots.map(|slot| slot * self.width..(slot + 1) * self.width);
        self.memory.numbers.get_disjoint_mut(rows).ok()
    }
}
