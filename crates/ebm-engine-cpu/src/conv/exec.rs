//! Runs a program forward and backward on one chunk of images, on one thread.

use std::cell::RefCell;

use super::arena::{Buf, Dst, Src};
use super::attention::{self, Grads, Qkv, Size};
use super::convolve;
use super::kernels::Kernels;
use super::layout::{Layout, Mode, Slot, layout};
use super::normact;
use super::pack::{Packed, Theta};
use super::program::{Kind, Program, Step, ValueId};

/// Where the tensors of one mode and chunk size lie in a [`Store`].
pub(crate) struct Arena {
    pub layout: Layout,
    /// Number in the store of each of the layout's buffers.
    place: Vec<usize>,
    saved: Vec<RefCell<normact::Saved>>,
}

/// Tensor memory of one thread, shared by all modes: calls come one after the other, so the memory is
/// that of the largest, not of all together.
#[derive(Default)]
pub(crate) struct Store {
    buffers: Vec<RefCell<Buf>>,
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

    /// Bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.buffers.iter().map(|b| b.borrow().len() * 4).sum()
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
                    let s = size_of(p, step);
                    scratch.attention.reserve(attention::scratch_len(s) + 8 * s.p * (2 * s.q + 2 * s.c));
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
    conv: convolve::Scratch,
    normact: normact::Scratch,
    attention: Buf,
    sum: Buf,
}

/// What one chunk reads and writes.
pub(crate) struct Io<'a> {
    /// Samples `(n, len)`.
    pub x: &'a [f32],
    /// Tangents `(n, len)`, if the mode has two streams.
    pub v: Option<&'a [f32]>,
    /// Condition `(n, k)`.
    pub cond: Option<&'a [f32]>,
    /// Weight of each term, `(n, T)`; all ones if absent.
    pub weights: Option<&'a [f32]>,
    /// Terms `(n, T)`.
    pub terms: &'a mut [f32],
    /// Input gradient `(n, len)` of the energy.
    pub grad: Option<&'a mut [f32]>,
    /// `∇ₓ⟨v, ∇ₓE⟩`, `(n, len)`.
    pub hvp: Option<&'a mut [f32]>,
}

pub(crate) struct Run<'a> {
    pub p: &'a Program,
    pub packed: &'a Packed,
    pub k: &'a Kernels,
    pub arena: &'a Arena,
    pub store: &'a Store,
    pub n: usize,
}

/// A group of images of the chunk.
#[derive(Clone, Copy)]
struct Group {
    i0: usize,
    n: usize,
}

fn size_of(p: &Program, step: &Step) -> Size {
    let (q, v) = (&p.values[step.inputs[0]], &p.values[step.inputs[2]]);
    Size { p: v.h * v.w, q: q.c, c: v.c }
}

/// First physical image of a group in a slot.
fn first(slot: &Slot, g: Group, streams: usize) -> usize {
    if slot.all { g.i0 * streams } else { 0 }
}

macro_rules! src {
    ($self:ident, $name:ident, $slot:expr, $g:expr) => {
        let slot = $slot;
        let guard = $self.store.buffers[$self.arena.place[slot.buf]].borrow();
        let $name = Src { d: &guard, g: slot.geom, i0: first(&slot, $g, $self.streams()) };
    };
}
macro_rules! dst {
    ($self:ident, $name:ident, $slot:expr, $g:expr) => {
        let slot = $slot;
        let mut guard = $self.store.buffers[$self.arena.place[slot.buf]].borrow_mut();
        let mut $name = Dst { d: &mut guard, g: slot.geom, i0: first(&slot, $g, $self.streams()) };
    };
}

impl Run<'_> {
    fn streams(&self) -> usize {
        self.arena.layout.mode.streams
    }
    fn val(&self, v: ValueId) -> Slot {
        self.arena.layout.values[v]
    }
    fn grad(&self, v: ValueId) -> Slot {
        self.arena.layout.grads[v]
    }

    /// All of it: forward, then backward if the mode says so.
    pub(crate) fn run(&self, s: &mut Scratch, io: &mut Io<'_>, mut theta: Option<Theta<'_>>) {
        let segments = &self.arena.layout.segments;
        let groups =
            |group: usize| (0..self.n).step_by(group).map(move |i0| Group { i0, n: group.min(self.n - i0) });
        for seg in segments {
            for g in groups(seg.group) {
                for step in &self.p.steps[seg.from..seg.to] {
                    self.forward(s, step, g, io);
                }
            }
        }
        self.read_terms(io);
        if !self.arena.layout.mode.backward {
            return;
        }
        self.seed(io);
        for seg in segments.iter().rev() {
            for g in groups(seg.group) {
                for i in (seg.from..seg.to).rev() {
                    self.backward(s, i, g, io, theta.as_mut());
                }
            }
        }
    }

    fn read_terms(&self, io: &mut Io<'_>) {
        let t = self.p.terms.len();
        for (j, &v) in self.p.terms.iter().enumerate() {
            src!(self, x, self.val(v), Group { i0: 0, n: self.n });
            for i in 0..self.n {
                io.terms[i * t + j] = x.px(0, i * self.streams(), 0, 0)[0];
            }
        }
    }

    /// The adjoint of a term is its weight; with tangents that of the tangent is, and the value's is 0.
    fn seed(&self, io: &Io<'_>) {
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

    fn forward(&self, s: &mut Scratch, step: &Step, g: Group, io: &Io<'_>) {
        let st = self.streams();
        let n = g.n * st;
        dst!(self, y, self.val(step.out), g);
        match &step.kind {
            Kind::Input => {
                let len = self.p.sample_len;
                for i in 0..g.n {
                    let at = (g.i0 + i) * len..(g.i0 + i + 1) * len;
                    write_sample(&mut y, i * st, &io.x[at.clone()], self.p.values[step.out].c);
                    if let (2, Some(v)) = (st, io.v) {
                        write_sample(&mut y, i * st + 1, &v[at], self.p.values[step.out].c);
                    }
                }
                return;
            }
            Kind::Concat => {
                let mut at = 0;
                for &v in &step.inputs {
                    src!(self, x, self.val(v), g);
                    for i in 0..n {
                        for ch in 0..self.p.values[v].c {
                            let o = at + ch;
                            y.px(o / 16, i, 0, 0)[o % 16] = x.px(ch / 16, i, 0, 0)[ch % 16];
                        }
                    }
                    at += self.p.values[v].c;
                }
                return;
            }
            Kind::Attention => return self.attend(s, step, g, &mut y),
            _ => {}
        }
        let v = step.inputs[0];
        src!(self, x, self.val(v), g);
        match &step.kind {
            Kind::Conv(c) => {
                convolve::forward(self.k, &mut s.conv, c, &self.packed.convs[c.index], x, &mut y, n, st);
            }
            Kind::Affine(a) => {
                let mut saved = self.arena.saved[a.index].borrow_mut();
                let cx = self.affine(a, v, io);
                if a.residual {
                    src!(self, r, self.val(step.inputs[1]), g);
                    cx.forward(&mut saved, x, g.i0, g.n, Some(r), &mut y);
                } else {
                    cx.forward(&mut saved, x, g.i0, g.n, None, &mut y);
                }
            }
            Kind::Pool(taps) => taps.forward(x, n, &mut y),
            Kind::Add => {
                src!(self, b, self.val(step.inputs[1]), g);
                self.k.scaled(x, n, 1.0, false, &mut y);
                self.k.scaled(b, n, 1.0, true, &mut y);
            }
            Kind::Blend(gamma) => {
                src!(self, o, self.val(step.inputs[1]), g);
                self.k.scaled(x, n, 1.0, false, &mut y);
                self.k.scaled(o, n, self.packed.raw[*gamma][0], true, &mut y);
            }
            Kind::Scale(f) => self.k.scaled(x, n, *f, false, &mut y),
            Kind::SpatialSum(f) => {
                for c in 0..x.g.cb {
                    for i in 0..n {
                        let mut sum = [0f32; 16];
                        for r in 0..x.g.h {
                            for q in 0..x.g.w {
                                sum.iter_mut().zip(x.px(c, i, r, q)).for_each(|(s, v)| *s += v);
                            }
                        }
                        y.px(c, i, 0, 0).iter_mut().zip(sum).for_each(|(y, s)| *y = f * s);
                    }
                }
            }
            Kind::Flatten => each_entry(&self.p.values[v], |o, c, r, q| {
                for i in 0..n {
                    y.px(o / 16, i, 0, 0)[o % 16] = x.px(c / 16, i, r, q)[c % 16];
                }
            }),
            Kind::SumAll => {
                for i in 0..n {
                    let c = self.p.values[v].c;
                    let px = y.px(0, i, 0, 0);
                    px.fill(0.0);
                    px[0] = (0..c).map(|ch| x.px(ch / 16, i, 0, 0)[ch % 16]).sum();
                }
            }
            Kind::Input | Kind::Concat | Kind::Attention => {}
        }
    }

    fn affine<'b>(
        &'b self,
        a: &'b super::program::Affine,
        v: ValueId,
        io: &'b Io<'_>,
    ) -> normact::Context<'b> {
        normact::Context {
            k: self.k,
            step: a,
            c: self.p.values[v].c,
            raw: &self.packed.raw,
            streams: self.streams(),
            cond: io.cond,
        }
    }

    /// One step back: from the gradient of its result to those of its inputs.
    fn backward(
        &self,
        s: &mut Scratch,
        index: usize,
        g: Group,
        io: &mut Io<'_>,
        mut theta: Option<&mut Theta<'_>>,
    ) {
        let step = &self.p.steps[index];
        let st = self.streams();
        let n = g.n * st;
        if matches!(step.kind, Kind::Attention) {
            return self.attend_back(s, index, g);
        }
        let adds = &self.arena.layout.adds[index];
        let aliased = &self.arena.layout.aliased[index];

        // Gradients that are plain copies come first: the result's buffer may be theirs from now on.
        match &step.kind {
            Kind::Input => {
                src!(self, gy, self.grad(step.out), g);
                let len = self.p.sample_len;
                let c = self.p.values[step.out].c;
                for i in 0..g.n {
                    let at = (g.i0 + i) * len..(g.i0 + i + 1) * len;
                    if let Some(d) = io.grad.as_deref_mut() {
                        read_sample(gy, (i + 1) * st - 1, &mut d[at.clone()], c);
                    }
                    if let (2, Some(d)) = (st, io.hvp.as_deref_mut()) {
                        read_sample(gy, i * st, &mut d[at], c);
                    }
                }
                return;
            }
            Kind::Add | Kind::Blend(_) => {
                let gamma = |k: usize| match step.kind {
                    Kind::Blend(id) if k == 1 => self.packed.raw[id][0],
                    _ => 1.0,
                };
                if let (Kind::Blend(id), Some(theta)) = (&step.kind, theta.as_deref_mut()) {
                    src!(self, gy, self.grad(step.out), g);
                    src!(self, o, self.val(step.inputs[1]), g);
                    theta.of(*id)[0] += inner(gy, o, n);
                }
                for k in [1, 0] {
                    if !aliased[k] {
                        let to = self.grad(step.inputs[k]);
                        if to.buf == self.grad(step.out).buf {
                            // `x + x`: the aliased copy and this one share a buffer.
                            dst!(self, gx, to, g);
                            double(&mut gx, n);
                            continue;
                        }
                        src!(self, gy, self.grad(step.out), g);
                        dst!(self, gx, to, g);
                        self.k.scaled(gy, n, gamma(k), adds[k], &mut gx);
                    }
                }
                return;
            }
            Kind::Affine(a) if a.residual && !aliased[1] => {
                src!(self, gy, self.grad(step.out), g);
                dst!(self, gx, self.grad(step.inputs[1]), g);
                self.k.scaled(gy, n, 1.0, adds[1], &mut gx);
            }
            Kind::Concat => {
                src!(self, gy, self.grad(step.out), g);
                let mut at: usize = step.inputs.iter().map(|&v| self.p.values[v].c).sum();
                for (k, &v) in step.inputs.iter().enumerate().rev() {
                    let c = self.p.values[v].c;
                    at -= c;
                    dst!(self, gx, self.grad(v), g);
                    for i in 0..n {
                        if !adds[k] {
                            (0..gx.g.cb).for_each(|b| gx.px(b, i, 0, 0).fill(0.0));
                        }
                        for ch in 0..c {
                            let o = at + ch;
                            gx.px(ch / 16, i, 0, 0)[ch % 16] += gy.px(o / 16, i, 0, 0)[o % 16];
                        }
                    }
                }
                return;
            }
            _ => {}
        }

        let v = step.inputs[0];
        if let (Kind::Conv(c), Some(theta)) = (&step.kind, theta.as_deref_mut()) {
            src!(self, gy, self.grad(step.out), g);
            src!(self, x, self.val(v), g);
            convolve::weight_gradient(self.k, &mut s.conv, c, x, gy, n, theta.of(c.weight), g.i0 > 0);
            if let (Some(b), false) = (c.bias, c.bias_dropped) {
                convolve::bias_gradient(c, x.g, gy, n, st, theta.of(b));
            }
        }
        let to = self.grad(v);
        let direct = !adds[0] || matches!(step.kind, Kind::Conv(_) | Kind::Pool(_) | Kind::Scale(_));
        if direct {
            src!(self, gy, self.grad(step.out), g);
            dst!(self, gx, to, g);
            self.back_into(s, step, g, io, gy, &mut gx, adds[0], theta);
        } else {
            // A kernel that overwrites: into a spare tensor, then added.
            let mut spare = std::mem::take(&mut s.sum);
            {
                src!(self, gy, self.grad(step.out), g);
                let mut gx = Dst { d: &mut spare, g: to.geom, i0: first(&to, g, st) };
                self.back_into(s, step, g, io, gy, &mut gx, false, theta);
            }
            {
                dst!(self, gx, to, g);
                let from = Src { d: &spare, g: to.geom, i0: first(&to, g, st) };
                self.k.scaled(from, n, 1.0, true, &mut gx);
            }
            s.sum = spare;
        }
    }

    /// The gradient of the first input, for kinds whose result and input differ in memory.
    #[allow(clippy::too_many_arguments)]
    fn back_into(
        &self,
        s: &mut Scratch,
        step: &Step,
        g: Group,
        io: &Io<'_>,
        gy: Src<'_>,
        gx: &mut Dst<'_>,
        add: bool,
        theta: Option<&mut Theta<'_>>,
    ) {
        let n = g.n * self.streams();
        let v = step.inputs[0];
        match &step.kind {
            Kind::Conv(c) => {
                convolve::backward(self.k, &mut s.conv, c, &self.packed.convs[c.index], gy, gx, n, add);
            }
            Kind::Affine(a) => {
                let saved = self.arena.saved[a.index].borrow();
                src!(self, y, self.val(v), g);
                let cx = self.affine(a, v, io);
                cx.backward(&mut s.normact, &saved, y, gy, g.i0, g.n, gx, theta);
            }
            Kind::Pool(taps) => taps.backward(gy, n, gx, add),
            Kind::Scale(f) => self.k.scaled(gy, n, *f, add, gx),
            Kind::SpatialSum(f) => {
                for c in 0..gx.g.cb {
                    for i in 0..n {
                        for r in 0..gx.g.h {
                            for q in 0..gx.g.w {
                                let px = gx.px(c, i, r, q);
                                px.iter_mut().zip(gy.px(c, i, 0, 0)).for_each(|(x, y)| *x = f * y);
                            }
                        }
                    }
                }
            }
            Kind::Flatten => {
                let val = &self.p.values[v];
                if !val.c.is_multiple_of(16) {
                    for i in 0..n {
                        for r in 0..val.h {
                            for q in 0..val.w {
                                gx.px(val.cb() - 1, i, r, q).fill(0.0);
                            }
                        }
                    }
                }
                each_entry(val, |o, c, r, q| {
                    for i in 0..n {
                        gx.px(c / 16, i, r, q)[c % 16] = gy.px(o / 16, i, 0, 0)[o % 16];
                    }
                });
            }
            Kind::SumAll => {
                let c = self.p.values[v].c;
                for i in 0..n {
                    let d = gy.px(0, i, 0, 0)[0];
                    (0..gx.g.cb).for_each(|b| gx.px(b, i, 0, 0).fill(0.0));
                    (0..c).for_each(|ch| gx.px(ch / 16, i, 0, 0)[ch % 16] = d);
                }
            }
            Kind::Input | Kind::Concat | Kind::Attention | Kind::Add | Kind::Blend(_) => {}
        }
    }

    fn attend(&self, s: &mut Scratch, step: &Step, g: Group, y: &mut Dst<'_>) {
        let z = size_of(self.p, step);
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

    fn attend_back(&self, s: &mut Scratch, index: usize, g: Group) {
        let step = &self.p.steps[index];
        let z = size_of(self.p, step);
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

/// `(C, H, W)` values of one image.
fn write_sample(y: &mut Dst<'_>, i: usize, x: &[f32], c: usize) {
    let (h, w) = (y.g.h, y.g.w);
    for r in 0..h {
        for q in 0..w {
            for (b, px) in (0..y.g.cb).map(|b| (b, y.g.at(b, y.i0 + i, r, q))) {
                for l in 0..16 {
                    let ch = b * 16 + l;
                    y.d[px + l] = if ch < c { x[(ch * h + r) * w + q] } else { 0.0 };
                }
            }
        }
    }
}

fn read_sample(y: Src<'_>, i: usize, x: &mut [f32], c: usize) {
    let (h, w) = (y.g.h, y.g.w);
    for ch in 0..c {
        for r in 0..h {
            for q in 0..w {
                x[(ch * h + r) * w + q] = y.px(ch / 16, i, r, q)[ch % 16];
            }
        }
    }
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

fn add_rows(y: &mut Dst<'_>, i: usize, from: &[f32], c: usize) {
    let w = y.g.w;
    for (p, row) in from.chunks_exact(c).enumerate() {
        for (b, part) in row.chunks(16).enumerate() {
            y.px(b, i, p / w, p % w).iter_mut().zip(part).for_each(|(y, v)| *y += v);
        }
    }
}

/// Calls `f(flat index, channel, row, column)` in the order of `Flatten`.
fn each_entry(v: &super::program::Value, mut f: impl FnMut(usize, usize, usize, usize)) {
    for o in 0..v.c * v.h * v.w {
        f(o, o / (v.h * v.w), o / v.w % v.h, o % v.w);
    }
}

fn double(x: &mut Dst<'_>, n: usize) {
    for c in 0..x.g.cb {
        for i in 0..n {
            for r in 0..x.g.h {
                for q in 0..x.g.w {
                    x.px(c, i, r, q).iter_mut().for_each(|v| *v *= 2.0);
                }
            }
        }
    }
}

fn inner(a: Src<'_>, b: Src<'_>, n: usize) -> f32 {
    let mut sum = [0f32; 16];
    for c in 0..a.g.cb {
        for i in 0..n {
            for r in 0..a.g.h {
                for q in 0..a.g.w {
                    for (s, (x, y)) in sum.iter_mut().zip(a.px(c, i, r, q).iter().zip(b.px(c, i, r, q))) {
                        *s += x * y;
                    }
                }
            }
        }
    }
    sum.iter().sum()
}
