//! Weights in the form the kernels read, made once per parameter version, and the way back from the
//! kernels' gradients to those of the named parameters.

use std::sync::{Mutex, PoisonError};

use super::arena::Buf;
use super::cells::GROUPS;
use super::convolve::TOGETHER;
use super::kernels::{Kernels, STRIDED, side};
use super::late::LateLayout;
use super::program::{Algorithm, Conv, Kind, ParamId, Program, Rule, Step};
use crate::pool::Pool;
use crate::unsupported::{Unsupported, refuse};

/// One packed convolution.
#[derive(Default)]
pub(crate) struct PackedConv {
    /// Panels of the forward product (each Winograd point after the other).
    pub forward: Buf,
    /// Panels of its adjoint.
    pub backward: Buf,
    /// Bias by channel, padded to whole blocks; empty if there is none or it has no effect.
    pub bias: Vec<f32>,
    /// Per output channel: mean and `1/(std + 1e-5)`, or σ alone; what the rule's gradient needs.
    scales: Vec<(f64, f64)>,
}

/// All weights of a program, packed for one instruction set.
pub struct Packed {
    pub(crate) convs: Vec<PackedConv>,
    /// Every parameter as it was given.
    pub(crate) raw: Vec<Vec<f32>>,
}

/// Where 16 columns of one row stand in panels of one or two blocks: `rows` rows, column block `n`.
#[derive(Clone, Copy)]
struct Panels {
    pair: bool,
    rows: usize,
}

impl Panels {
    fn at(self, row: usize, n: usize) -> usize {
        if self.pair { (n / 2 * self.rows + row) * 32 + n % 2 * 16 } else { (n * self.rows + row) * 16 }
    }
}

/// Sum of `f` over a slice in f64, in eight lanes so that it is not one chain of additions.
fn sum_of(row: &[f32], f: impl Fn(usize, f64) -> f64) -> f64 {
    let mut lanes = [0f64; 8];
    let mut i = 0;
    for part in row.chunks(8) {
        for (l, &v) in lanes.iter_mut().zip(part) {
            *l += f(i, f64::from(v));
            i += 1;
        }
    }
    lanes.iter().sum()
}

const STD_EPS: f64 = 1e-5;

/// Effective weights `(out, in, k, k)` and the numbers their gradient needs.
fn effective(conv: &Conv, raw: &[Vec<f32>]) -> (Vec<f32>, Vec<(f64, f64)>) {
    let w = &raw[conv.weight];
    let fan = conv.cin * conv.taps();
    match &conv.rule {
        Rule::Plain => (w.clone(), Vec::new()),
        Rule::Standardised => {
            let mut out = Vec::with_capacity(w.len());
            let mut scales = Vec::with_capacity(conv.cout);
            for row in w.chunks_exact(fan) {
                let mean = sum_of(row, |_, v| v) / fan as f64;
                let ss = sum_of(row, |_, v| (v - mean) * (v - mean));
                let std = (ss / (fan as f64 - 1.0).max(1.0)).sqrt();
                let r = 1.0 / (std + STD_EPS);
                out.extend(row.iter().map(|&v| ((f64::from(v) - mean) * r) as f32));
                scales.push((mean, std));
            }
            (out, scales)
        }
        Rule::Spectral { u, v } => {
            let (u, v) = (&raw[*u], &raw[*v]);
            let mut sigma = 0.0;
            for (row, &uo) in w.chunks_exact(fan).zip(u) {
                let dot: f64 = row.iter().zip(v).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                sigma += f64::from(uo) * dot;
            }
            (w.iter().map(|&v| (f64::from(v) / sigma) as f32).collect(), vec![(sigma, 0.0)])
        }
    }
}

/// Gradient of the raw weight from that of the effective one, in place.
fn chain_rule(conv: &Conv, packed: &PackedConv, raw: &[Vec<f32>], g: &mut [f32]) {
    let w = &raw[conv.weight];
    let fan = conv.cin * conv.taps();
    match &conv.rule {
        Rule::Plain => {}
        Rule::Standardised => {
            for ((gr, row), &(mean, std)) in
                g.chunks_exact_mut(fan).zip(w.chunks_exact(fan)).zip(&packed.scales)
            {
                // ŵ = c/(s + ε), c = w − mean, s² = Σc²/(N−1): ḡ_c = ḡ/(s+ε) − c·(Σḡc)/((s+ε)²·s·(N−1)), then centred.
                let r = 1.0 / (std + STD_EPS);
                let dot = sum_of(gr, |i, a| a * (f64::from(row[i]) - mean));
                let k = if std > 0.0 { dot * r * r / (std * (fan as f64 - 1.0).max(1.0)) } else { 0.0 };
                let avg = sum_of(gr, |_, a| a) * r / fan as f64;
                for (a, &b) in gr.iter_mut().zip(row) {
                    *a = (f64::from(*a) * r - (f64::from(b) - mean) * k - avg) as f32;
                }
            }
        }
        Rule::Spectral { u, v } => {
            // w/σ with σ = uᵀWv: ḡ/σ − u vᵀ·(Σ ḡ·w)/σ².
            let sigma = packed.scales[0].0;
            let dot: f64 = g.iter().zip(w).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            let k = dot / (sigma * sigma);
            for (gr, &uo) in g.chunks_exact_mut(fan).zip(&raw[*u]) {
                for (a, &vi) in gr.iter_mut().zip(&raw[*v]) {
                    *a = (f64::from(*a) / sigma - k * f64::from(uo) * f64::from(vi)) as f32;
                }
            }
        }
    }
}

/// Effective weights in the order in which the kernels want vectors of them.
struct Weights<'a> {
    conv: &'a Conv,
    w: Vec<f32>,
}

impl Weights<'_> {
    fn taps(&self) -> usize {
        self.conv.taps()
    }
    fn at(&self, o: usize, i: usize, t: usize) -> f32 {
        let c = self.conv;
        if i < c.cin && o < c.cout { self.w[(o * c.cin + i) * self.taps() + t] } else { 0.0 }
    }
    /// Tap `t` of 16 output channels of block `n` and one input channel.
    fn by_output(&self, n: usize, i: usize, t: usize) -> [f32; 16] {
        std::array::from_fn(|l| self.at(n * 16 + l, i, t))
    }
    /// Tap `t` of 16 input channels of block `n` and one output channel.
    fn by_input(&self, n: usize, o: usize, t: usize) -> [f32; 16] {
        std::array::from_fn(|l| self.at(o, n * 16 + l, t))
    }
}

/// Transformed panels: `rows × 16·blocks` at each Winograd point, kernels given by `(block, row)`. The points of [`TOGETHER`] blocks
/// stand side by side, as they are read.
///
/// Sixteen rows go to a small buffer first: points are a power of two apart, and writing 36 of them in
/// turn would fall into one cache set.
fn transform(
    kernels: &Kernels,
    n: usize,
    rows: usize,
    blocks: usize,
    to: &mut [f32],
    of: impl Fn(usize, usize) -> [[f32; 16]; 9],
) {
    let points = side(n) * side(n);
    let mut few = vec![0f32; points * 16 * 32];
    let mut u = [[0f32; 16]; 36];
    for from in (0..blocks).step_by(TOGETHER) {
        let group = TOGETHER.min(blocks - from);
        // As the product of the group alone reads them.
        let nb = if kernels.pairs(group) { 2 } else { 1 };
        let line = 16 * nb;
        for pn in (0..group).step_by(nb) {
            for r0 in (0..rows).step_by(16) {
                for b in 0..nb {
                    for r in 0..16 {
                        kernels.weights(n, &of(from + pn + b, r0 + r), &mut u);
                        for (p, v) in u[..points].iter().enumerate() {
                            few[(p * 16 + r) * line + b * 16..][..16].copy_from_slice(v);
                        }
                    }
                }
                for (p, part) in few.chunks_exact(16 * line).take(points).enumerate() {
                    let at = (from * points + p * group + pn) * rows * 16 + r0 * line;
                    to[at..at + 16 * line].copy_from_slice(part);
                }
            }
        }
    }
}

impl PackedConv {
    /// Packs one convolution into memory that may hold an older version.
    fn fill(&mut self, kernels: &Kernels, conv: &Conv, raw: &[Vec<f32>]) {
        let (w, scales) = effective(conv, raw);
        self.scales = scales;
        let w = Weights { conv, w };
        let (cb, kb) = (conv.cin.div_ceil(16), conv.cout.div_ceil(16));
        let (c, k, taps) = (cb * 16, kb * 16, w.taps());
        let inner = conv.inner_blocks() * 16;
        let rows = match conv.algorithm {
            Algorithm::Winograd(n) => n * n * c,
            Algorithm::Strided { .. } => GROUPS * c,
            _ => inner,
        };
        self.forward.reserve(rows * k);
        self.backward.reserve(rows * k);
        let scale = conv.scale();
        if let Algorithm::Winograd(n) = conv.algorithm {
            let by_output = |b, i| std::array::from_fn(|t| w.by_output(b, i, t));
            let by_input = |b, o| std::array::from_fn(|t| w.by_input(b, o, 8 - t));
            transform(kernels, n, c, kb, &mut self.forward, by_output);
            transform(kernels, n, k, cb, &mut self.backward, by_input);
        } else if let Algorithm::Strided { .. } = conv.algorithm {
            let by_output = |b, i| std::array::from_fn(|t| w.by_output(b, i, t).map(|v| v * scale));
            let by_input = |b, o| std::array::from_fn(|t| w.by_input(b, o, t).map(|v| v * scale));
            transform(kernels, STRIDED, c, kb, &mut self.forward, by_output);
            transform(kernels, STRIDED, k, cb, &mut self.backward, by_input);
        } else {
            let f = Panels { pair: kernels.pairs(kb), rows: inner };
            let b = Panels { pair: kernels.pairs(inner / 16), rows: k };
            // Rows that no entry of the kernel has stay zero.
            for t in 0..taps {
                for i in 0..conv.cin {
                    for n in 0..kb {
                        let v = w.by_output(n, i, t).map(|v| v * scale);
                        self.forward[f.at(conv.inner_row(t, i), n)..][..16].copy_from_slice(&v);
                    }
                }
            }
            let mut weights = w.w.iter();
            for o in 0..conv.cout {
                for i in 0..conv.cin {
                    for (t, v) in weights.by_ref().take(taps).enumerate() {
                        let row = conv.inner_row(t, i);
                        self.backward[b.at(o, row / 16) + row % 16] = v * scale;
                    }
                }
            }
        }
        self.bias.clear();
        if let (Some(b), false) = (conv.bias, conv.bias_dropped) {
            self.bias.extend_from_slice(&raw[b]);
            self.bias.resize(k, 0.0);
        }
    }
}

/// Makes one thing of each item, on the pool.
fn each<T: Sync, R: Send>(pool: &Pool, items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let out: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    pool.run(items.len(), |_, i| {
        *out[i].lock().unwrap_or_else(PoisonError::into_inner) = Some(f(&items[i]));
    });
    out.into_iter().filter_map(|m| m.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

fn convs(p: &Program) -> Vec<&Conv> {
    p.steps.iter().filter_map(Step::conv).collect()
}

impl Packed {
    /// Memory for the weights of `p`, not yet filled.
    pub(crate) fn empty(p: &Program) -> Packed {
        let convs = convs(p).iter().map(|_| PackedConv::default()).collect();
        Packed { convs, raw: vec![Vec::new(); p.params.len()] }
    }

    /// Packs the tensors that `lookup` gives, reusing the memory.
    pub(crate) fn fill<'a>(
        &mut self,
        p: &Program,
        kernels: &Kernels,
        pool: &Pool,
        mut lookup: impl FnMut(&str) -> Option<&'a [f32]>,
    ) -> Result<(), Unsupported> {
        for (param, raw) in p.params.iter().zip(&mut self.raw) {
            match lookup(&param.name) {
                Some(v) if v.len() == param.len => {
                    raw.clear();
                    raw.extend_from_slice(v);
                }
                Some(v) => {
                    return refuse(format!(
                        "parameter `{}` has {} entries, the plan wants {}",
                        param.name,
                        v.len(),
                        param.len
                    ));
                }
                None => return refuse(format!("parameter `{}` of the plan is missing", param.name)),
            }
        }
        let raw = &self.raw;
        let work: Vec<_> = self.convs.iter_mut().zip(convs(p)).map(Mutex::new).collect();
        each(pool, &work, |item| {
            let (packed, conv) = &mut *item.lock().unwrap_or_else(PoisonError::into_inner);
            packed.fill(kernels, conv, raw);
        });
        Ok(())
    }
}

/// Where the gradient of each parameter is summed, in the kernels' own order.
#[derive(Clone, Debug)]
pub(crate) struct ThetaLayout {
    /// Start and length of each parameter's block; length 0 for buffers.
    pub blocks: Vec<(usize, usize)>,
    /// Everything before this is added to and must start from zero; convolutions stand after it.
    pub summed: usize,
    /// What each part of a batch sums; gradients that come late stand after it.
    pub each: usize,
    pub late: LateLayout,
}

impl ThetaLayout {
    /// For parts of `part` images.
    pub(crate) fn new(p: &Program, part: usize) -> ThetaLayout {
        let late = LateLayout::new(p, part);
        let mut blocks = vec![(0, 0); p.params.len()];
        let mut kernel = vec![0; p.params.len()];
        let mut is_late = vec![false; p.params.len()];
        for (step, c) in p.steps.iter().enumerate().filter_map(|(i, s)| Some((i, s.conv()?))) {
            kernel[c.weight] = c.inner_blocks() * 16 * c.cout.next_multiple_of(16);
            is_late[c.weight] = late.of(step).is_some();
        }
        let mut len = 0;
        for (id, q) in p.params.iter().enumerate().filter(|(id, q)| q.trainable && kernel[*id] == 0) {
            blocks[id] = (len, q.len.next_multiple_of(16));
            len += blocks[id].1;
        }
        let summed = len;
        for (id, &n) in kernel.iter().enumerate().filter(|(id, n)| **n > 0 && !is_late[*id]) {
            blocks[id] = (len, n);
            len += n;
        }
        let each = len;
        // In the order in which they are computed.
        for c in late.all.iter().filter_map(|l| p.steps[l.step].conv()) {
            blocks[c.weight] = (len, kernel[c.weight]);
            len += kernel[c.weight];
        }
        ThetaLayout { blocks, summed, each, late }
    }
}

/// Running sums of all weight gradients.
pub(crate) struct Theta<'a> {
    pub layout: &'a ThetaLayout,
    pub d: &'a mut [f32],
    /// Factors of what comes late, of this part.
    pub kept: &'a mut [f32],
}

impl Theta<'_> {
    /// The block of one parameter.
    pub(crate) fn of(&mut self, id: ParamId) -> &mut [f32] {
        let (at, n) = self.layout.blocks[id];
        &mut self.d[at..at + n]
    }
}

/// `[k block][tap][c][16]` to `(out, in, k, k)`, then through the weight rule.
fn unpack_conv(conv: &Conv, packed: &Packed, block: &[f32]) -> Vec<f32> {
    let taps = conv.taps();
    let inner = conv.inner_blocks() * 16;
    let f = conv.scale();
    let row = conv.cin * taps;
    let mut g = vec![0f32; conv.cout * row];
    for (n, rows) in g.chunks_mut(16 * row).enumerate() {
        let block = &block[n * inner * 16..(n + 1) * inner * 16];
        for i in 0..conv.cin {
            for t in 0..taps {
                let lanes = &block[conv.inner_row(t, i) * 16..][..16];
                for (r, &v) in rows.chunks_exact_mut(row).zip(lanes) {
                    r[i * taps + t] = f * v;
                }
            }
        }
    }
    chain_rule(conv, &packed.convs[conv.index], &packed.raw, &mut g);
    g
}

/// Gradients of the named parameters from the summed blocks; label layers only if they took part.
pub(crate) fn unpack(
    p: &Program,
    packed: &Packed,
    layout: &ThetaLayout,
    (sums, late): (&[f32], &[f32]),
    pool: &Pool,
    conditioned: bool,
) -> Vec<(String, Vec<f32>)> {
    let block = |id: ParamId| {
        let (at, n) = layout.blocks[id];
        if at < layout.each { &sums[at..at + n] } else { &late[at - layout.each..][..n] }
    };
    let mut of_param: Vec<Option<Vec<f32>>> = vec![None; p.params.len()];
    let list = convs(p);
    for (c, g) in list.iter().zip(each(pool, &list, |c| unpack_conv(c, packed, block(c.weight)))) {
        of_param[c.weight] = Some(g);
    }
    let mut absent = vec![false; p.params.len()];
    for s in &p.steps {
        if let (Kind::Affine(a), false) = (&s.kind, conditioned)
            && let Some(l) = &a.label
        {
            absent[l.weight] = true;
            absent[l.bias] = true;
        }
    }
    let mut out = Vec::new();
    for (id, (q, g)) in p.params.iter().zip(of_param).enumerate() {
        if q.trainable && !absent[id] {
            out.push((q.name.clone(), g.unwrap_or_else(|| block(id)[..q.len].to_vec())));
        }
    }
    out
}
