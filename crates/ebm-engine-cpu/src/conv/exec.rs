//! Runs a program forward and backward on one chunk of images, on one thread.

use super::arena::{Dst, Src};
use super::convolve;
use super::entries::{
    by_rows, double, each_entry, inner, read_points, read_sample, write_points, write_sample,
};
use super::kernels::Kernels;
use super::layout::Slot;
use super::normact;
use super::pack::{Packed, Theta};
use super::patches::{Input, Target};
use super::program::{Affine, Algorithm, Conv, Kind, Program, Step, ValueId};
use super::sample::{Sample, SampleMut};
use super::store::{Arena, Scratch, Store};

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

/// A program, its weights, and where its tensors lie.
pub(crate) struct Run<'a> {
    pub p: &'a Program,
    pub packed: &'a Packed,
    pub k: &'a Kernels,
    pub arena: &'a Arena,
    pub store: &'a Store,
    /// Images of the chunk.
    pub n: usize,
}

/// A group of images of the chunk.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub i0: usize,
    pub n: usize,
}

/// First physical image of a group in a slot.
pub(super) fn first(slot: &Slot, g: Group, streams: usize) -> usize {
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
pub(super) use {dst, src};

impl Run<'_> {
    pub(super) fn streams(&self) -> usize {
        self.arena.layout.mode.streams
    }
    pub(super) fn val(&self, v: ValueId) -> Slot {
        self.arena.layout.values[v]
    }
    pub(super) fn grad(&self, v: ValueId) -> Slot {
        self.arena.layout.grads[v]
    }

    /// All of it: forward, then backward if the mode says so.
    pub(crate) fn run(&self, s: &mut Scratch, io: &mut Io<'_>) {
        self.ahead(s, io);
        if self.arena.layout.mode.backward {
            self.back(s, io, None);
        }
    }

    fn groups(&self, group: usize) -> impl Iterator<Item = Group> + use<> {
        let n = self.n;
        (0..n).step_by(group).map(move |i0| Group { i0, n: group.min(n - i0) })
    }

    /// Forward, to the terms.
    pub(crate) fn ahead(&self, s: &mut Scratch, io: &mut Io<'_>) {
        #[cfg(test)]
        {
            s.ahead += self.n;
        }
        for seg in &self.arena.layout.segments {
            for g in self.groups(seg.group) {
                for step in &self.p.steps[seg.from..seg.to] {
                    self.forward(s, step, g, io);
                }
            }
        }
        self.read_terms(io);
    }

    /// Backward from the weights of the terms, after [`Run::ahead`] of the same images.
    pub(crate) fn back(&self, s: &mut Scratch, io: &mut Io<'_>, mut theta: Option<Theta<'_>>) {
        self.seed(io);
        for seg in self.arena.layout.segments.iter().rev() {
            for g in self.groups(seg.group) {
                for i in (seg.from..seg.to).rev() {
                    self.backward(s, i, g, io, theta.as_mut());
                }
            }
        }
    }

    fn forward(&self, s: &mut Scratch, step: &Step, g: Group, io: &Io<'_>) {
        let st = self.streams();
        let n = g.n * st;
        dst!(self, y, self.val(step.out), g);
        match &step.kind {
            Kind::Input { .. } if !self.arena.layout.made[step.out] => return,
            Kind::Input { points } => {
                let len = self.p.sample_len;
                let write = if *points { write_points } else { write_sample };
                for i in 0..g.n {
                    let at = (g.i0 + i) * len..(g.i0 + i + 1) * len;
                    write(&mut y, i * st, &io.x[at.clone()], self.p.values[step.out].c);
                    if let (2, Some(v)) = (st, io.v) {
                        write(&mut y, i * st + 1, &v[at], self.p.values[step.out].c);
                    }
                }
                return;
            }
            Kind::Condition => {
                let k = self.p.condition;
                for i in 0..n {
                    (0..y.g.cb).for_each(|b| y.px(b, i, 0, 0).fill(0.0));
                }
                if let Some(cond) = io.cond {
                    for i in 0..g.n {
                        let row = &cond[(g.i0 + i) * k..(g.i0 + i + 1) * k];
                        for (b, part) in row.chunks(16).enumerate() {
                            y.px(b, i * st, 0, 0)[..part.len()].copy_from_slice(part);
                        }
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
                let w = &self.packed.convs[c.index];
                convolve::forward(self.k, &mut s.conv, c, w, self.input(c, v, x, g, io), &mut y, n, st);
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
                        let sum = by_rows(x.g, |r, q, sum| {
                            sum.iter_mut().zip(x.px(c, i, r, q)).for_each(|(s, v)| *s += v);
                        });
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
            Kind::Input { .. } | Kind::Condition | Kind::Concat | Kind::Attention => {}
        }
    }

    /// What a convolution reads: its input's tensor, or the sample itself.
    fn input<'b>(&self, c: &Conv, v: ValueId, x: Src<'b>, g: Group, io: &Io<'b>) -> Input<'b> {
        if c.algorithm != Algorithm::Sample {
            return Input::Map(x);
        }
        let len = self.p.sample_len;
        let of = |d: &'b [f32]| &d[g.i0 * len..(g.i0 + g.n) * len];
        let tangents = if self.streams() == 2 { io.v.map(of) } else { None };
        Input::Sample(Sample { streams: [Some(of(io.x)), tangents], size: self.size(v) })
    }

    fn size(&self, v: ValueId) -> (usize, usize) {
        (self.p.values[v].h, self.p.values[v].w)
    }

    fn affine<'b>(&'b self, a: &'b Affine, v: ValueId, io: &'b Io<'_>) -> normact::Context<'b> {
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
            Kind::Condition => return,
            Kind::Input { .. } if !self.arena.layout.made[step.out] => return,
            Kind::Input { points } => {
                let read = if *points { read_points } else { read_sample };
                src!(self, gy, self.grad(step.out), g);
                let len = self.p.sample_len;
                let c = self.p.values[step.out].c;
                for i in 0..g.n {
                    let at = (g.i0 + i) * len..(g.i0 + i + 1) * len;
                    if let Some(d) = io.grad.as_deref_mut() {
                        read(gy, (i + 1) * st - 1, &mut d[at.clone()], c);
                    }
                    if let (2, Some(d)) = (st, io.hvp.as_deref_mut()) {
                        read(gy, i * st, &mut d[at], c);
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
            if let Some(late) = theta.layout.late.of(index) {
                let images = (self.arena.layout.chunk * st, g.i0 * st, n);
                late.keep(self.k, &mut s.conv, c, (x, gy), images, theta.kept);
            } else {
                let input = self.input(c, v, x, g, io);
                convolve::weight_gradient(self.k, &mut s.conv, c, input, gy, n, theta.of(c.weight), g.i0 > 0);
            }
            if let (Some(b), false) = (c.bias, c.bias_dropped) {
                convolve::bias_gradient(c, self.size(v), gy, n, st, theta.of(b));
            }
        }
        if !self.arena.layout.wanted[v] && matches!(step.kind, Kind::Conv(_) | Kind::Pool(_) | Kind::Scale(_))
        {
            return;
        }
        if let Kind::Conv(c) = &step.kind
            && c.algorithm == Algorithm::Sample
        {
            src!(self, gy, self.grad(step.out), g);
            let (len, w) = (self.p.sample_len, &self.packed.convs[c.index]);
            let at = g.i0 * len..(g.i0 + g.n) * len;
            let grad = io.grad.as_deref_mut().map(|d| &mut d[at.clone()]);
            let hvp = io.hvp.as_deref_mut().map(|d| &mut d[at]);
            // As `Input` hands them on: the last stream has the slope.
            let streams = if st == 2 { [hvp, grad] } else { [grad, None] };
            let gx = Target::Sample(SampleMut { streams, count: st, size: self.size(v) });
            return convolve::backward(self.k, &mut s.conv, c, w, gy, gx, n, adds[0]);
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
                let (w, gx) = (&self.packed.convs[c.index], Target::Map(gx));
                convolve::backward(self.k, &mut s.conv, c, w, gy, gx, n, add);
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
            Kind::Input { .. }
            | Kind::Condition
            | Kind::Concat
            | Kind::Attention
            | Kind::Add
            | Kind::Blend(_) => {}
        }
    }
}
