//! The terms of a chunk, and the weights with which the way back begins.

use super::arena::{Dst, Src};
use super::exec::{Group, Io, Run, dst, first, src};

impl Run<'_> {
    pub(super) fn read_terms(&self, io: &mut Io<'_>) {
        let t = self.p.terms.len();
        for (j, &v) in self.p.terms.iter().enumerate() {
            src!(self, x, self.val(v), Group { i0: 0, n: self.n });
            for i in 0..self.n {
                io.terms[i * t + j] = x.px(0, i * self.streams(), 0, 0)[0];
            }
        }
    }

    /// The adjoint of a term is its weight; with tangents that of the tangent is, and the value's is 0.
    pub(super) fn seed(&self, io: &Io<'_>) {
        let t = self.p.terms.len();
        let whole = Group { i0: 0, n: self.n };
        for &v in &self.p.terms {
            dst!(self, g, self.grad(v), whole);
            for i in 0..self.n * self.streams() {
                g.px(0, i, 0, 0).fill(0.0);
            }
        }
        for (j, &v) in self.p.terms.iter().enumerate() {
            dst!(self, g, self.grad(v), whole);
            for i in 0..self.n {
                let w = io.weights.map_or(1.0, |w| w[i * t + j]);
                g.px(0, (i + 1) * self.streams() - 1, 0, 0)[0] += w;
            }
        }
    }
}
