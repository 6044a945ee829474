//! The affine step: group norm, label gain and bias, activation and residual, with gradients.
//!
//! Per image and channel with group mean μ and `r = 1/√(var + ε)`: `x̂ = (y − μ)·r`,
//! `z = γ·x̂ + β`, result `a(z)`. The tangent is `x̂' = r·(y' − mean y' − x̂·mean(x̂·y'))`. With
//! `b = γ·z̄'` the adjoints of one group are
//! `ȳ' = r·(b − mean b − x̂·mean(b·x̂))` and, with `A = γ·z̄ − r·m₂·b − r·mean(b·x̂)·y'`,
//! `ȳ = r·(A − mean A − x̂·(mean(A·x̂) + mean(b·x̂')))`. All means come from five channel sums.
//!
//! The kernels take `y` and `y'` from pivots of each channel; here, where there is one number a channel and not one a pixel, the
//! distances of the pivots from the means are put right, in f64 where levels meet.

use super::arena::{Buf, Dst, Geom, Src};
use super::kernels::{
    Kernels,
    affine::{coef, sum},
    moments::stat,
};
use super::pack::Theta;
use super::program::{Affine, Label};

/// Statistics and label coefficients of one step, for all images of a chunk.
#[derive(Default)]
pub(crate) struct Saved {
    /// `[image][block][field][16]`.
    stats: Buf,
    /// `[image][gain, shift][16·blocks]`; empty without label layer.
    label: Buf,
    /// Whether the current call has a condition.
    conditioned: bool,
}

/// Working memory of the backward pass.
#[derive(Default)]
pub(crate) struct Scratch {
    sums: Buf,
    coef: Buf,
}

impl Saved {
    pub(crate) fn new(step: &Affine, g: &Geom, chunk: usize) -> Saved {
        let label = if step.label.is_some() { Buf::new(chunk * 2 * g.cb * 16) } else { Buf::default() };
        Saved { stats: Buf::new(chunk * g.cb * stat::LEN * 16), label, conditioned: false }
    }
}

impl Scratch {
    pub(crate) fn reserve(&mut self, g: &Geom) {
        self.sums.reserve(g.n * g.cb * sum::LEN * 16);
        self.coef.reserve(g.n * g.cb * coef::LEN * 16);
    }
}

/// Everything constant over a call.
pub(crate) struct Context<'a> {
    pub k: &'a Kernels,
    pub step: &'a Affine,
    /// Real channels.
    pub c: usize,
    pub raw: &'a [Vec<f32>],
    pub streams: usize,
    /// Condition vectors of the chunk, `(n, condition)`.
    pub cond: Option<&'a [f32]>,
}

/// A group's channels.
fn groups(step: &Affine, c: usize) -> (usize, usize) {
    let groups = step.norm.as_ref().map_or(c, |n| n.groups);
    (groups, c / groups)
}

impl Context<'_> {
    fn field(&self, st: &[f32], ch: usize, f: usize) -> f32 {
        st[(ch / 16) * stat::LEN * 16 + f * 16 + ch % 16]
    }

    /// Gain and shift of channel `ch` before the label layer.
    fn own(&self, ch: usize) -> (f32, f32) {
        let get = |id: Option<usize>, or: f32| id.map_or(or, |id| self.raw[id][ch]);
        self.step.norm.as_ref().map_or((1.0, 0.0), |n| (get(n.weight, 1.0), get(n.bias, 0.0)))
    }

    fn label_coefficients(&self, label: &Label, y: &[f32], out: &mut [f32], pad: usize) {
        let (w, b) = (&self.raw[label.weight], &self.raw[label.bias]);
        let kc = y.len();
        for j in 0..2 * self.c {
            let dot: f32 = w[j * kc..(j + 1) * kc].iter().zip(y).map(|(a, b)| a * b).sum();
            out[(j / self.c) * pad + j % self.c] = dot + b[j];
        }
    }

    /// Runs the step on images `i0..i0+n` of the chunk.
    pub(crate) fn forward(
        &self,
        saved: &mut Saved,
        y: Src<'_>,
        i0: usize,
        n: usize,
        res: Option<Src<'_>>,
        out: &mut Dst<'_>,
    ) {
        let g = y.g;
        let per = g.cb * stat::LEN * 16;
        let st = &mut saved.stats[i0 * per..(i0 + n) * per];
        if self.step.norm.is_some() {
            self.k.stats(y, n, self.streams, st);
        }
        let pad = g.cb * 16;
        saved.conditioned = false;
        if let (Some(label), Some(cond)) = (&self.step.label, self.cond) {
            saved.conditioned = true;
            let kc = self.raw[label.weight].len() / (2 * self.c);
            for i in i0..i0 + n {
                let row = &cond[i * kc..(i + 1) * kc];
                self.label_coefficients(label, row, &mut saved.label[i * 2 * pad..(i + 1) * 2 * pad], pad);
            }
        }
        for (i, st) in st.chunks_exact_mut(per).enumerate() {
            let label = saved.conditioned.then(|| &saved.label[(i0 + i) * 2 * pad..(i0 + i + 1) * 2 * pad]);
            self.combine(st, label, pad);
        }
        if self.streams == 2 && self.step.norm.is_some() {
            self.k.tangent_sums(y, n, st);
            for st in st.chunks_exact_mut(per) {
                self.combine_tangent(st, (g.h * g.w) as f32);
            }
        }
        self.k.affine((self.step.norm.is_some(), self.step.act), y, n, self.streams, st, res, out);
    }

    /// Channel statistics to group statistics and the pass's scale and shift.
    fn combine(&self, st: &mut [f32], label: Option<&[f32]>, pad: usize) {
        let (groups, size) = groups(self.step, self.c);
        let at = |ch: usize, f: usize| (ch / 16) * stat::LEN * 16 + f * 16 + ch % 16;
        if self.step.norm.is_none() {
            st.fill(0.0);
            for ch in 0..pad {
                st[at(ch, stat::RSTD)] = 1.0;
            }
        }
        for gr in 0..groups {
            let channels = gr * size..(gr + 1) * size;
            if let Some(norm) = &self.step.norm {
                let mean_of =
                    |ch: usize| f64::from(st[at(ch, stat::PIVOT)]) + f64::from(st[at(ch, stat::OWN)]);
                let mean = channels.clone().map(mean_of).sum::<f64>() / size as f64;
                let var_of = |ch: usize| {
                    let own = f64::from(st[at(ch, stat::RSTD)]);
                    // Rounded below 0, or not a number, which stays.
                    (if own < 0.0 { 0.0 } else { own }) + (mean_of(ch) - mean).powi(2)
                };
                let var = channels.clone().map(var_of).sum::<f64>() / size as f64;
                let rstd = (1.0 / (var + f64::from(norm.epsilon)).sqrt()) as f32;
                for ch in channels.clone() {
                    st[at(ch, stat::OFFSET)] = (mean - f64::from(st[at(ch, stat::PIVOT)])) as f32;
                    st[at(ch, stat::RSTD)] = rstd;
                }
            }
            for ch in channels {
                let (mut gain, mut shift) = self.own(ch);
                if let Some(l) = label {
                    (gain, shift) = (gain * l[ch], shift * l[ch] + l[pad + ch]);
                }
                let scale = gain * st[at(ch, stat::RSTD)];
                st[at(ch, stat::SCALE)] = scale;
                st[at(ch, stat::SHIFT)] = shift - st[at(ch, stat::OFFSET)] * scale;
            }
        }
        // Padding channels: a pure activation passes zeros on, anything else ends in zero.
        for ch in self.c..pad {
            (0..stat::LEN).for_each(|f| st[at(ch, f)] = 0.0);
            st[at(ch, stat::RSTD)] = 1.0;
        }
    }

    fn combine_tangent(&self, st: &mut [f32], pixels: f32) {
        let (groups, size) = groups(self.step, self.c);
        let at = |ch: usize, f: usize| (ch / 16) * stat::LEN * 16 + f * 16 + ch % 16;
        let pixels = f64::from(pixels);
        let count = size as f64 * pixels;
        for gr in 0..groups {
            let channels = gr * size..(gr + 1) * size;
            let get = |ch: usize, f: usize| f64::from(st[at(ch, f)]);
            let mean_of = |ch: usize| get(ch, stat::TURN) + get(ch, stat::BACK) / pixels;
            let mean = channels.clone().map(mean_of).sum::<f64>() / size as f64;
            // Σ (y − μ)(y' − mean y') from the sums about the pivots.
            let together = |ch: usize| {
                let (d, f) = (get(ch, stat::OFFSET), mean - get(ch, stat::TURN));
                get(ch, stat::Q) - d * get(ch, stat::BACK) + f * pixels * (d - get(ch, stat::OWN))
            };
            let r = get(gr * size, stat::RSTD);
            let q = r * r * channels.clone().map(together).sum::<f64>() / count;
            for ch in channels {
                let turned = mean - f64::from(st[at(ch, stat::TURN)]);
                st[at(ch, stat::TURNED)] = turned as f32;
                st[at(ch, stat::BACK)] = (f64::from(st[at(ch, stat::OFFSET)]) * q - turned) as f32;
                st[at(ch, stat::Q)] = q as f32;
            }
        }
        for ch in self.c..st.len() / stat::LEN {
            [stat::TURN, stat::BACK, stat::Q].iter().for_each(|f| st[at(ch, *f)] = 0.0);
        }
    }

    /// Gradient of the result to that of `y`, written to `out`; `theta` receives weight gradients.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn backward(
        &self,
        s: &mut Scratch,
        saved: &Saved,
        y: Src<'_>,
        grad: Src<'_>,
        i0: usize,
        n: usize,
        out: &mut Dst<'_>,
        mut theta: Option<&mut Theta<'_>>,
    ) {
        let g = y.g;
        let per = g.cb * stat::LEN * 16;
        let st = &saved.stats[i0 * per..(i0 + n) * per];
        let norm = self.step.norm.is_some();
        self.k.affine_sums((norm, self.step.act), y, grad, n, self.streams, st, &mut s.sums, out);
        let pad = g.cb * 16;
        let pixels = (g.h * g.w) as f32;
        for i in 0..n {
            let st = &st[i * per..(i + 1) * per];
            let sums = &s.sums[i * g.cb * sum::LEN * 16..(i + 1) * g.cb * sum::LEN * 16];
            let label = saved.conditioned.then(|| &saved.label[(i0 + i) * 2 * pad..(i0 + i + 1) * 2 * pad]);
            let co = &mut s.coef[i * g.cb * coef::LEN * 16..(i + 1) * g.cb * coef::LEN * 16];
            self.coefficients(st, sums, pixels, co);
            if let Some(theta) = theta.as_deref_mut() {
                self.weights(st, sums, label, i0 + i, theta);
            }
        }
        if norm {
            self.k.affine_apply(y, n, self.streams, &s.coef, out);
        } else if saved.conditioned {
            self.k.affine_scale(n, self.streams, &s.coef, out);
        }
    }

    fn coefficients(&self, st: &[f32], sums: &[f32], pixels: f32, co: &mut [f32]) {
        co.fill(0.0);
        let (groups, size) = groups(self.step, self.c);
        let at = |ch: usize, f: usize| (ch / 16) * coef::LEN * 16 + f * 16 + ch % 16;
        let sm = |ch: usize, f: usize| sums[(ch / 16) * sum::LEN * 16 + f * 16 + ch % 16];
        let two = self.streams == 2;
        for gr in 0..groups {
            let channels = gr * size..(gr + 1) * size;
            let first = channels.start;
            for ch in channels.clone() {
                co[at(ch, coef::K)] = self.field(st, ch, stat::SCALE);
            }
            if self.step.norm.is_none() {
                continue;
            }
            let count = size as f32 * pixels;
            let r = self.field(st, first, stat::RSTD);
            // Means over the group of γ·(·): γ = scale/r.
            let avg = |f: &dyn Fn(usize) -> f32| {
                channels.clone().map(|ch| self.field(st, ch, stat::SCALE) / r * f(ch)).sum::<f32>() / count
            };
            let (z0, z1) = (avg(&|ch| sm(ch, sum::Z)), r * avg(&|ch| self.centred(st, sums, ch, sum::Z)));
            let (b0, b1, b2) = if two {
                let b1 = r * avg(&|ch| self.centred(st, sums, ch, sum::T));
                (avg(&|ch| sm(ch, sum::T)), b1, r * avg(&|ch| sm(ch, sum::TU)))
            } else {
                (z0, z1, 0.0)
            };
            for ch in channels.clone() {
                let offset = self.field(st, ch, stat::OFFSET);
                co[at(ch, coef::PIVOT)] = self.field(st, ch, stat::PIVOT);
                let ay = -r * r * b1;
                co[at(ch, coef::AY)] = ay;
                co[at(ch, coef::A0)] = -r * b0 - ay * offset;
                if !two {
                    continue;
                }
                let m2 = self.field(st, first, stat::Q) / r;
                let (a0, a1) = (z0 - r * m2 * b0, z1 - r * m2 * b1 - r * b1 * m2);
                let (byt, by) = (-r * r * b1, -r * r * (a1 + b2));
                co[at(ch, coef::TURN)] = self.field(st, ch, stat::TURN);
                co[at(ch, coef::BT)] = -r * m2 * self.field(st, ch, stat::SCALE);
                co[at(ch, coef::BYT)] = byt;
                co[at(ch, coef::BY)] = by;
                co[at(ch, coef::B0)] = -r * a0 - by * offset - byt * self.field(st, ch, stat::TURNED);
            }
        }
    }

    /// `Σ z̄·(y − μ)` of a channel, of the sums that begin at `of` (`Z` or `T`).
    fn centred(&self, st: &[f32], sums: &[f32], ch: usize, of: usize) -> f32 {
        let sm = |f: usize| sums[(ch / 16) * sum::LEN * 16 + f * 16 + ch % 16];
        sm(of + 1) - self.field(st, ch, stat::OFFSET) * sm(of)
    }

    fn weights(&self, st: &[f32], sums: &[f32], label: Option<&[f32]>, image: usize, theta: &mut Theta<'_>) {
        let sm = |ch: usize, f: usize| sums[(ch / 16) * sum::LEN * 16 + f * 16 + ch % 16];
        // Gradients of the effective gain and shift of a channel.
        let s1 = |ch: usize| {
            let tangent = if self.streams == 2 { sm(ch, sum::TU) } else { 0.0 };
            self.field(st, ch, stat::RSTD) * (self.centred(st, sums, ch, sum::Z) + tangent)
        };
        let s0 = |ch: usize| sm(ch, sum::Z);
        let gain = |ch: usize| label.map_or(1.0, |l| l[ch]);
        if let Some(norm) = &self.step.norm {
            if let Some(w) = norm.weight {
                let d = theta.of(w);
                (0..self.c).for_each(|ch| d[ch] += gain(ch) * s1(ch));
            }
            if let Some(b) = norm.bias {
                let d = theta.of(b);
                (0..self.c).for_each(|ch| d[ch] += gain(ch) * s0(ch));
            }
        }
        let (Some(l), Some(_), Some(cond)) = (&self.step.label, label, self.cond) else { return };
        let kc = self.raw[l.weight].len() / (2 * self.c);
        let row = &cond[image * kc..(image + 1) * kc];
        // Without norm x̂ is y itself, and s1 its moment about zero.
        let of_output = |j: usize| {
            let ch = j % self.c;
            let (own, shift) = self.own(ch);
            if j < self.c { own * s1(ch) + shift * s0(ch) } else { s0(ch) }
        };
        let d = theta.of(l.weight);
        for j in 0..2 * self.c {
            let g = of_output(j);
            for (d, y) in d[j * kc..(j + 1) * kc].iter_mut().zip(row) {
                *d += g * y;
            }
        }
        let d = theta.of(l.bias);
        (0..2 * self.c).for_each(|j| d[j] += of_output(j));
    }
}
