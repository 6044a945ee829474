//! Rows of numbers that parts of a tree share and give back.

use std::cell::RefCell;

use super::tree::Node;
use crate::kit::lanes::{self, Row};

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
    /// Of the tree, with nothing in it.
    stack: Vec<Node>,
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

    /// Room for a stack, to be given back.
    pub(super) fn lend(&mut self) -> Vec<Node> {
        std::mem::take(&mut self.memory.stack)
    }

    pub(super) fn give_back(&mut self, mut stack: Vec<Node>) {
        stack.clear();
        self.memory.stack = stack;
    }

    /// A row with what `from` has, held `times` times.
    pub(super) fn put(&mut self, from: &[f64], times: u32) -> Slot {
        let slot = self.take();
        self.memory.holders[slot] = times;
        self.at_mut(slot).copy_from_slice(from);
        slot
    }

    /// A row with any numbers, held once.
    #[inline]
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
    #[inline]
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

    /// Position and momentum `to` after [`lanes::depart`] from position, momentum and gradient `from`; all are different.
    #[inline]
    pub(super) fn depart(&mut self, to: [Slot; 2], from: [Slot; 3], l: &[f64], kick: f64, h: f64) {
        if self.width >= lanes::SHORT {
            if let Some([new_x, new_v, x, v, grad]) = self.several([to[0], to[1], from[0], from[1], from[2]])
            {
                lanes::depart(&Row { x, v, grad }, l, kick, h, new_x, new_v);
            }
            return;
        }
        // Whether rows differ takes as long to ask as a short one to move.
        let (to, from) = (to.map(|slot| slot * self.width), from.map(|slot| slot * self.width));
        let n = self.memory.numbers.as_mut_slice();
        for (i, l) in l.iter().enumerate().take(self.width) {
            let v = n[from[1] + i] + kick * (l * n[from[2] + i]);
            n[to[1] + i] = v;
            n[to[0] + i] = n[from[0] + i] + h * (l * v);
        }
    }

    /// `sum ← a + b`; `sum` may be `a`.
    #[inline]
    pub(super) fn add(&mut self, sum: Slot, a: Slot, b: Slot) {
        if self.width >= lanes::SHORT {
            if sum == a
                && let Some([sum, b]) = self.several([sum, b])
            {
                lanes::add_scaled(sum, 1.0, b);
            } else if let Some([sum, a, b]) = self.several([sum, a, b]) {
                lanes::add(sum, a, b);
            }
            return;
        }
        let [sum, a, b] = [sum, a, b].map(|slot| slot * self.width);
        let n = self.memory.numbers.as_mut_slice();
        for i in 0..self.width {
            n[sum + i] = n[a + i] + n[b + i];
        }
    }
}
