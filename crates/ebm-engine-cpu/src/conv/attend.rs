//! Attention on the images of a chunk: operands out of their blocks into rows, and results back.

use super::arena::{Dst, Src};
use super::attention::{self, Grads, Qkv, Size};
use super::exec::{Group, Run, dst, first, src};
use super::program::Step;
use super::store::Scratch;

impl Run<'_> {
    pub(super) fn attend(&self, s: &mut Scratch, step: &Step, g: Group, y: &mut Dst<'_>) {
        let z = Size::of(self.p, step);
        let st = self.streams();
        let (a, b) = (z.p * z.q, z.p * z.c);
        let (work, rest) = s.attention.split_at_mut(attention::scratch_len(z));
        let mut parts = Parts::new(rest, a, b);
        for i in 0..g.n {
            for t in 0..st {
                self.load_qkv(step, g, i * st + t, parts.qkv(t));
            }
            let [o, ot] = &mut parts.o;
            let x = parts_ref(&parts.x[0]);
            let t = (st == 2).then(|| parts_ref(&parts.x[1]));
            self.k.attend(z, x, t, o, ot, work);
            for (k, o) in [o, ot].into_iter().take(st).enumerate() {
                write_rows(y, i * st + k, o, z.c);
            }
        }
    }

    pub(super) fn attend_back(&self, s: &mut Scratch, index: usize, g: Group) {
        let step = &self.p.steps[index];
        let z = Size::of(self.p, step);
        let st = self.streams();
        let (a, b) = (z.p * z.q, z.p * z.c);
        let (work, rest) = s.attention.split_at_mut(attention::scratch_len(z));
        let mut parts = Parts::new(rest, a, b);
        let adds = &self.arena.layout.adds[index];
        for i in 0..g.n {
            for t in 0..st {
                self.load_qkv(step, g, i * st + t, parts.qkv(t));
            }
            {
                src!(self, gy, self.grad(step.out), g);
                for t in 0..st {
                    read_rows(gy, i * st + t, parts.o[t], z.c);
                }
            }
            for t in 0..st {
                parts.g[t].iter_mut().for_each(|m| m.fill(0.0));
            }
            let [gv, gt] = &mut parts.g;
            let [gq, gk, gvv] = gv;
            let mut grads = Grads { q: gq, k: gk, v: gvv };
            let x = parts_ref(&parts.x[0]);
            if st == 1 {
                self.k.attend_back(z, x, parts.o[0], &mut grads, work);
            } else {
                let [tq, tk, tv] = gt;
                let mut tangents = Grads { q: tq, k: tk, v: tv };
                let t = parts_ref(&parts.x[1]);
                let go = [&*parts.o[0], &*parts.o[1]];
                self.k.attend_back_two(z, [x, t], go, &mut grads, &mut tangents, work);
            }
            for (k, &v) in step.inputs.iter().enumerate() {
                dst!(self, gx, self.grad(v), g);
                for t in 0..st {
                    let c = self.p.values[v].c;
                    if !adds[k] {
                        write_rows(&mut gx, i * st + t, parts.g[t][k], c);
                    } else {
                        add_rows(&mut gx, i * st + t, parts.g[t][k], c);
                    }
                }
            }
        }
    }

    fn load_qkv(&self, step: &Step, g: Group, image: usize, to: &mut [&mut [f32]; 3]) {
        for (k, &v) in step.inputs.iter().enumerate() {
            src!(self, x, self.val(v), g);
            read_rows(x, image, to[k], self.p.values[v].c);
        }
    }
}

/// Row-major copies of one image's attention operands, results and gradients, by stream.
struct Parts<'a> {
    x: [[&'a mut [f32]; 3]; 2],
    g: [[&'a mut [f32]; 3]; 2],
    o: [&'a mut [f32]; 2],
}

impl<'a> Parts<'a> {
    fn new(mut rest: &'a mut [f32], a: usize, b: usize) -> Parts<'a> {
        let mut take = |n: usize| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(n);
            rest = tail;
            head
        };
        let x = std::array::from_fn(|_| [take(a), take(a), take(b)]);
        let g = std::array::from_fn(|_| [take(a), take(a), take(b)]);
        let o = std::array::from_fn(|_| take(b));
        Parts { x, g, o }
    }
    fn qkv(&mut self, t: usize) -> &mut [&'a mut [f32]; 3] {
        &mut self.x[t]
    }
}

fn parts_ref<'b>(x: &'b [&mut [f32]; 3]) -> Qkv<'b> {
    Qkv { q: x[0], k: x[1], v: x[2] }
}

/// One image as `(P, C)` rows.
fn read_rows(x: Src<'_>, i: usize, to: &mut [f32], c: usize) {
    for (p, row) in to.chunks_exact_mut(c).enumerate() {
        for (b, part) in row.chunks_mut(16).enumerate() {
            let n = part.len();
            part.copy_from_slice(&x.px(b, i, p / x.g.w, p % x.g.w)[..n]);
        }
    }
}

/// The same back.
fn write_rows(y: &mut Dst<'_>, i: usize, from: &[f32], c: usize) {
    let w = y.g.w;
    for (p, row) in from.chunks_exact(c).enumerate() {
        for (b, part) in row.chunks(16).enumerate() {
            let px = y.px(b, i, p / w, p % w);
            px[..part.len()].copy_from_slice(part);
            px[part.len()..].fill(0.0);
        }
    }
}

/// The same, added.
fn add_rows(y: &mut Dst<'_>, i: usize, from: &[f32], c: usize) {
    let w = y.g.w;
    for (p, row) in from.chunks_exact(c).enumerate() {
        for (b, part) in row.chunks(16).enumerate() {
            y.px(b, i, p / w, p % w).iter_mut().zip(part).for_each(|(y, v)| *y += v);
        }
    }
}
