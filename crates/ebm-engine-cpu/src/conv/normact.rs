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

// The fields of a block are arrays side by side, indexed by the channel.
#![allow(clippy::needless_range_loop)]

use super::arena::{Buf, Dst, Geom, Src};
use super::kernels::{
    Kernels,
    affine::{Form, coef, sum},
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

/// Fields of sixteen channels each of the blocks of `all`.
fn blocks<'a>(all: &'a mut [f32], fields: usize) -> impl Iterator<Item = &'a mut [[f32; 16]]> + 'a {
    let (lanes, _) = all.as_chunks_mut::<16>();
    lanes.chunks_exact_mut(fields)
}

/// The variance of a group, and how far its mean is from the pivots of its channels.
fn join(st: &mut [f32], channels: std::ops::Range<usize>) {
    let at = |ch: usize, f: usize| (ch / 16) * stat::LEN * 16 + f * 16 + ch % 16;
    let size = channels.len() as f64;
    let mean_of = |st: &[f32], ch| f64::from(st[at(ch, stat::PIVOT)]) + f64::from(st[at(ch, stat::OWN)]);
    let mean = channels.clone().map(|ch| mean_of(st, ch)).sum::<f64>() / size;
    let var_of = |ch| {
        let own = f64::from(st[at(ch, stat::RSTD)]);
        // Rounded below 0, or not a number, which stays.
        (if own < 0.0 { 0.0 } else { own }) + (mean_of(st, ch) - mean).powi(2)
    };
    let var = channels.clone().map(var_of).sum::<f64>() / size;
    for ch in channels {
        st[at(ch, stat::OFFSET)] = (mean - f64::from(st[at(ch, stat::PIVOT)])) as f32;
        st[at(ch, stat::RSTD)] = var as f32;
    }
}

/// The mean of a group's tangent less the channel's pivot, and `q`, in place of the channels' sums.
fn join_tangents(st: &mut [f32], channels: std::ops::Range<usize>, pixels: f64) {
    let at = |ch: usize, f: usize| (ch / 16) * stat::LEN * 16 + f * 16 + ch % 16;
    let size = channels.len() as f64;
    let get = |st: &[f32], ch: usize, f: usize| f64::from(st[at(ch, f)]);
    let mean_of = |ch| get(st, ch, stat::TURN) + get(st, ch, stat::BACK) / pixels;
    let mean = channels.clone().map(mean_of).sum::<f64>() / size;
    // Σ (y − μ)(y' − mean y') from the sums about the pivots.
    let together = |ch| {
        let (d, f) = (get(st, ch, stat::OFFSET), mean - get(st, ch, stat::TURN));
        get(st, ch, stat::Q) - d * get(st, ch, stat::BACK) + f * pixels * (d - get(st, ch, stat::OWN))
    };
    let r = get(st, channels.start, stat::RSTD);
    let q = r * r * channels.clone().map(together).sum::<f64>() / (size * pixels);
    for ch in channels {
        st[at(ch, stat::TURNED)] = (mean - get(st, ch, stat::TURN)) as f32;
        st[at(ch, stat::Q)] = q as f32;
    }
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
        let form = self.form(saved.conditioned);
        if form != Form::Plain {
            for (i, st) in st.chunks_exact_mut(per).enumerate() {
                let label =
                    saved.conditioned.then(|| &saved.label[(i0 + i) * 2 * pad..(i0 + i + 1) * 2 * pad]);
                self.combine(st, label, pad);
            }
        }
        if self.streams == 2 && self.step.norm.is_some() {
            self.k.tangent_sums(y, n, st);
            for st in st.chunks_exact_mut(per) {
                self.combine_tangent(st, (g.h * g.w) as f32);
            }
        }
        self.k.affine((form, self.step.act), y, n, self.streams, st, res, out);
    }

    fn form(&self, conditioned: bool) -> Form {
        match (&self.step.norm, conditioned) {
            (Some(_), _) => Form::Norm,
            (None, true) => Form::Gain,
            (None, false) => Form::Plain,
        }
    }

    /// Channel statistics to group statistics and the pass's scale and shift.
    fn combine(&self, st: &mut [f32], label: Option<&[f32]>, pad: usize) {
        let (groups, size) = groups(self.step, self.c);
        match &self.step.norm {
            None => {
                st.fill(0.0);
                blocks(st, stat::LEN).for_each(|b| b[stat::RSTD] = [1.0; 16]);
            }
            Some(norm) => {
                let epsilon = f64::from(norm.epsilon);
                if size > 1 {
                    (0..groups).for_each(|gr| join(st, gr * size..(gr + 1) * size));
                } else {
                    blocks(st, stat::LEN).for_each(|b| b[stat::OFFSET] = b[stat::OWN]);
                }
                for b in blocks(st, stat::LEN) {
                    // Rounded below 0, or not a number, which stays.
                    let of = |var: f32| {
                        (1.0 / (if var < 0.0 { 0.0 } else { f64::from(var) } + epsilon).sqrt()) as f32
                    };
                    b[stat::RSTD] = b[stat::RSTD].map(of);
                }
            }
        }
        for (k, b) in blocks(st, stat::LEN).enumerate() {
            // Padding channels: a pure activation passes zeros on, anything else ends in zero.
            let real = self.c.saturating_sub(k * 16).min(16);
            for l in 0..real {
                let ch = k * 16 + l;
                let (mut gain, mut shift) = self.own(ch);
                if let Some(label) = label {
                    (gain, shift) = (gain * label[ch], shift * label[ch] + label[pad + ch]);
                }
                let scale = gain * b[stat::RSTD][l];
                b[stat::SCALE][l] = scale;
                b[stat::SHIFT][l] = shift - b[stat::OFFSET][l] * scale;
            }
            for (f, field) in b.iter_mut().enumerate() {
                field[real..].fill(if f == stat::RSTD { 1.0 } else { 0.0 });
            }
        }
    }

    fn combine_tangent(&self, st: &mut [f32], pixels: f32) {
        let (groups, size) = groups(self.step, self.c);
        let pixels = f64::from(pixels);
        if size > 1 {
            (0..groups).for_each(|gr| join_tangents(st, gr * size..(gr + 1) * size, pixels));
        }
        for (k, b) in blocks(st, stat::LEN).enumerate() {
            let real = self.c.saturating_sub(k * 16).min(16);
            for l in 0..16 {
                let offset = f64::from(b[stat::OFFSET][l]);
                let (turned, q) = if size > 1 {
                    (f64::from(b[stat::TURNED][l]), f64::from(b[stat::Q][l]))
                } else {
                    let (sum, r) = (f64::from(b[stat::BACK][l]), f64::from(b[stat::RSTD][l]));
                    (sum / pixels, r * r * (f64::from(b[stat::Q][l]) - offset * sum) / pixels)
                };
                b[stat::TURNED][l] = turned as f32;
                b[stat::BACK][l] = (offset * q - turned) as f32;
                b[stat::Q][l] = q as f32;
            }
            [stat::TURN, stat::BACK, stat::Q].iter().for_each(|f| b[*f][real..].fill(0.0));
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
        let form = self.form(saved.conditioned);
        self.k.affine_sums((form, self.step.act), y, grad, n, self.streams, st, &mut s.sums, out);
        if form == Form::Plain {
            return;
        }
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
        match form {
            Form::Norm => self.k.affine_apply(y, n, self.streams, &s.coef, out),
            _ => self.k.affine_scale(n, self.streams, &s.coef, out),
        }
    }

    fn coefficients(&self, st: &[f32], sums: &[f32], pixels: f32, co: &mut [f32]) {
        let (groups, size) = groups(self.step, self.c);
        let (st, _) = st.as_chunks::<16>();
        let (sums, _) = sums.as_chunks::<16>();
        let (st, _) = st.as_chunks::<{ stat::LEN }>();
        let (sums, _) = sums.as_chunks::<{ sum::LEN }>();
        let norm = self.step.norm.is_some();
        // Per channel γ·(·) of the sums, centred; γ = scale/r.
        for ((b, st), sm) in blocks(co, coef::LEN).zip(st).zip(sums) {
            b.fill([0.0; 16]);
            for l in 0..16 {
                let gain = st[stat::SCALE][l] / st[stat::RSTD][l];
                let centred = |of: usize| sm[of + 1][l] - st[stat::OFFSET][l] * sm[of][l];
                let all = [sm[sum::Z][l], centred(sum::Z), sm[sum::T][l], centred(sum::T), sm[sum::TU][l]];
                all.iter().enumerate().for_each(|(f, v)| b[f][l] = gain * v);
            }
        }
        if size > 1 {
            for gr in 0..groups {
                for f in 0..sum::LEN {
                    let at = |ch: usize| (ch / 16) * coef::LEN * 16 + f * 16 + ch % 16;
                    let channels = gr * size..(gr + 1) * size;
                    let all = channels.clone().map(|ch| co[at(ch)]).sum::<f32>();
                    channels.for_each(|ch| co[at(ch)] = all);
                }
            }
        }
        let count = size as f32 * pixels;
        let two = self.streams == 2;
        for (k, (b, st)) in blocks(co, coef::LEN).zip(st).enumerate() {
            for l in 0..16 {
                let [z, zc, t, tc, tu]: [f32; 5] = std::array::from_fn(|f| b[f][l] / count);
                let of = |f: usize| st[f][l];
                let (r, offset) = (of(stat::RSTD), of(stat::OFFSET));
                let (z0, z1) = (z, r * zc);
                let (b0, b1, b2) = if two { (t, r * tc, r * tu) } else { (z0, z1, 0.0) };
                let ay = -r * r * b1;
                let mut new = [0.0; coef::LEN];
                new[coef::K] = of(stat::SCALE);
                if norm {
                    new[coef::PIVOT] = of(stat::PIVOT);
                    new[coef::AY] = ay;
                    new[coef::A0] = -r * b0 - ay * offset;
                }
                if norm && two {
                    let m2 = of(stat::Q) / r;
                    let (a0, a1) = (z0 - r * m2 * b0, z1 - r * m2 * b1 - r * b1 * m2);
                    let by = -r * r * (a1 + b2);
                    new[coef::TURN] = of(stat::TURN);
                    new[coef::BT] = -r * m2 * of(stat::SCALE);
                    new[coef::BYT] = ay;
                    new[coef::BY] = by;
                    new[coef::B0] = -r * a0 - by * offset - ay * of(stat::TURNED);
                }
                new.iter().enumerate().for_each(|(f, v)| b[f][l] = *v);
            }
            let real = self.c.saturating_sub(k * 16).min(16);
            b.iter_mut().for_each(|field| field[real..].fill(0.0));
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
