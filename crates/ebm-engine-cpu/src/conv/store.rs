//! Tensor memory of one thread: where the tensors of a mode lie, and room for the largest.

use std::cell::RefCell;

use super::arena::Buf;
use super::attention::{self, Size};
use super::convolve;
use super::layout::{Layout, Mode, layout};
use super::normact;
use super::program::{Kind, Program};

/// Where the tensors of one mode and chunk size lie in a [`Store`].
pub(crate) struct Arena {
    pub layout: Layout,
    /// Number in the store of each of the layout's buffers.
    pub place: Vec<usize>,
    pub saved: Vec<RefCell<normact::Saved>>,
}

/// Tensor memory of one thread, shared by all modes: calls come one after the other, so the memory is
/// that of the largest, not of all together.
#[derive(Default)]
pub(crate) struct Store {
    pub buffers: Vec<RefCell<Buf>>,
    /// Whose borders are in place.
    current: Option<(Mode, usize)>,
}

impl Store {
    /// Makes the memory that of `arena`: room for its tensors, zeros where its kernels expect them.
    pub(crate) fn enter(&mut self, arena: &Arena) {
        let layout = &arena.layout;
        if self.current == Some((layout.mode, layout.chunk)) {
            return;
        }
        self.current = None;
        self.buffers.resize_with(self.buffers.len().max(layout.buffers.len()), RefCell::default);
        for ((g, &place), padded) in layout.buffers.iter().zip(&arena.place).zip(&layout.padded) {
            let buf = self.buffers[place].get_mut();
            buf.reserve(g.len());
            if *padded {
                // Channels that no kernel writes must not hold what another mode left there.
                buf[..g.len()].fill(0.0);
            } else {
                g.clear_border(buf);
            }
        }
        self.current = Some((layout.mode, layout.chunk));
    }

    /// Leaves rubbish in all of it, as another mode would.
    #[cfg(test)]
    pub(crate) fn spoil(&mut self) {
        self.buffers.iter_mut().for_each(|b| b.get_mut().fill(1e30));
        self.current = None;
    }
}

impl Arena {
    /// Allocates everything a call in this layout needs.
    pub(crate) fn new(p: &Program, mode: Mode, chunk: usize, scratch: &mut Scratch) -> Arena {
        let layout = layout(p, mode, chunk);
        // The largest tensor goes into the largest buffer, and so on down, so that modes share well.
        let mut by_size: Vec<usize> = (0..layout.buffers.len()).collect();
        by_size.sort_by_key(|&b| (std::cmp::Reverse(layout.buffers[b].len()), b));
        let mut place = vec![0; by_size.len()];
        by_size.iter().enumerate().for_each(|(rank, &b)| place[b] = rank);
        let mut saved = Vec::new();
        for step in &p.steps {
            let g = layout.values[step.out].geom;
            match &step.kind {
                Kind::Affine(a) => {
                    saved.push(RefCell::new(normact::Saved::new(a, &g, chunk)));
                    scratch.normact.reserve(&layout.values[step.inputs[0]].geom);
                }
                Kind::Conv(c) => {
                    let x = layout.values[step.inputs[0]].geom;
                    scratch.conv.reserve(c, &x, &g, mode.theta);
                }
                Kind::Attention => {
                    let s = Size::of(p, step);
                    scratch.attention.reserve(attention::scratch_len(s) + attention::rows_len(s));
                }
                _ => {}
            }
            if mode.backward {
                for &v in &step.inputs {
                    scratch.sum.reserve(layout.grads[v].geom.len());
                }
            }
        }
        Arena { layout, place, saved }
    }
}

/// Working memory of one thread, shared by all modes.
#[derive(Default)]
pub(crate) struct Scratch {
    pub conv: convolve::Scratch,
    pub normact: normact::Scratch,
    pub attention: Buf,
    pub sum: Buf,
    /// Images that went forward.
    #[cfg(test)]
    pub ahead: usize,
}
