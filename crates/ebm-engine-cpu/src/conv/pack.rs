//! Weights in the form the kernels read, made once per parameter version, and the way back from the
//! kernels' gradients to those of the named parameters.

use super::arena::Buf;
use super::kernels::{Kernels, weight_matrix};
use super::program::{Algorithm, Conv, Kind, ParamId, Program, Rule, Unsupported, refuse};

/// One packed convolution.
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

/// Packs `B[k][n]` (given by `f`) into panels of one or two blocks of columns.
fn panels(kernels: &Kernels, k: usize, kb: usize, out: &mut [f32], f: impl Fn(usize, usize) -> f32) {
    let pw = if kernels.pairs(kb) { 32 } else { 16 };
    for (pn, panel) in out[..k * kb * 16].chunks_exact_mut(k * pw).enumerate() {
        for (i, row) in panel.chunks_exact_mut(pw).enumerate() {
            for (j, v) in row.iter_mut().enumerate() {
                *v = f(i, pn * pw + j);
            }
        }
    }
}

const STD_EPS: f64 = 1e-5;

/// Effective weights `(out, in, k, k)` and the numbers their gradient needs.
fn effective(conv: &Conv, raw: &[Vec<f32>]) -> (Vec<f32>, Vec<(f64, f64)>) {
    let w = &raw[conv.weight];
    let fan = conv.cin * conv.kernel * conv.kernel;
    match &conv.rule {
        Rule::Plain => (w.clone(), Vec::new()),
        Rule::Standardised => {
            let mut out = Vec::with_capacity(w.len());
            let mut scales = Vec::with_capacity(conv.cout);
            for row in w.chunks_exact(fan) {
                let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / fan as f64;
                let ss = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>();
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
    let fan = conv.cin * conv.kernel * conv.kernel;
    match &conv.rule {
        Rule::Plain => {}
        Rule::Standardised => {
            for ((gr, row), &(mean, std)) in
                g.chunks_exact_mut(fan).zip(w.chunks_exact(fan)).zip(&packed.scales)
            {
                // ŵ = c/(s + ε), c = w − mean, s² = Σc²/(N−1): ḡ_c = ḡ/(s+ε) − c·(Σḡc)/((s+ε)²·s·(N−1)), then centred.
                let r = 1.0 / (std + STD_EPS);
                let dot: f64 = gr.iter().zip(row).map(|(&a, &b)| f64::from(a) * (f64::from(b) - mean)).sum();
                let k = if std > 0.0 { dot * r * r / (std * (fan as f64 - 1.0).max(1.0)) } else { 0.0 };
                let avg: f64 = gr.iter().map(|&a| f64::from(a)).sum::<f64>() * r / fan as f64;
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

/// `a` is the weight of input channel `i`, output channel `o`, tap `t`; zero in the padding.
fn pack_conv(kernels: &Kernels, conv: &Conv, raw: &[Vec<f32>]) -> PackedConv {
    let (w, scales) = effective(conv, raw);
    let taps = conv.kernel * conv.kernel;
    let (cb, kb) = (conv.cin.div_ceil(16), conv.cout.div_ceil(16));
    let (c, k) = (cb * 16, kb * 16);
    let at = |i: usize, o: usize, t: usize| {
        if i < conv.cin && o < conv.cout { w[(o * conv.cin + i) * taps + t] } else { 0.0 }
    };
    let (mut forward, mut backward);
    match conv.algorithm {
        Algorithm::Winograd(n) => {
            let points = n * n;
            forward = Buf::new(points * c * k);
            backward = Buf::new(points * c * k);
            let u = transformed(n, c, k, |i, o, t| at(i, o, t));
            for p in 0..points {
                panels(kernels, c, kb, &mut forward[p * c * k..], |i, o| u[(p * c + i) * k + o]);
            }
            let u = transformed(n, k, c, |o, i, t| at(i, o, 8 - t));
            for p in 0..points {
                panels(kernels, k, cb, &mut backward[p * c * k..], |o, i| u[(p * k + o) * c + i]);
            }
        }
        Algorithm::Patches | Algorithm::Boxes => {
            let f = if conv.algorithm == Algorithm::Boxes { 1.0 / 9.0 } else { 1.0 };
            forward = Buf::new(taps * c * k);
            backward = Buf::new(taps * c * k);
            panels(kernels, taps * c, kb, &mut forward, |i, o| f * at(i % c, o, i / c));
            panels(kernels, k, taps * cb, &mut backward, |o, i| f * at(i % c, o, i / c));
        }
    }
    let mut bias = Vec::new();
    if let (Some(b), false) = (conv.bias, conv.bias_dropped) {
        bias = raw[b].clone();
        bias.resize(k, 0.0);
    }
    PackedConv { forward, backward, bias, scales }
}

/// `G w Gᵀ` at every point: `[point][c][k]`, in f64.
fn transformed(n: usize, c: usize, k: usize, at: impl Fn(usize, usize, usize) -> f32) -> Vec<f32> {
    let g = weight_matrix(n);
    let mut u = vec![0f32; n * n * c * k];
    for ci in 0..c {
        for ko in 0..k {
            let mut t = [[0f64; 3]; 6];
            for i in 0..n {
                for j in 0..3 {
                    t[i][j] = (0..3).map(|q| g[i][q] * f64::from(at(ci, ko, q * 3 + j))).sum();
                }
            }
            for i in 0..n {
                for j in 0..n {
                    let v: f64 = (0..3).map(|q| t[i][q] * g[j][q]).sum();
                    u[((i * n + j) * c + ci) * k + ko] = v as f32;
                }
            }
        }
    }
    u
}

impl Packed {
    pub(crate) fn new<'a>(
        p: &Program,
        kernels: &Kernels,
        mut lookup: impl FnMut(&str) -> Option<&'a [f32]>,
    ) -> Result<Packed, Unsupported> {
        let mut raw = Vec::with_capacity(p.params.len());
        for param in &p.params {
            match lookup(&param.name) {
                Some(v) if v.len() == param.len => raw.push(v.to_vec()),
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
        let convs = p
            .steps
            .iter()
            .filter_map(|s| match &s.kind {
                Kind::Conv(c) => Some(pack_conv(kernels, c, &raw)),
                _ => None,
            })
            .collect();
        Ok(Packed { convs, raw })
    }
}

/// Where the gradient of each parameter is summed, in the kernels' own order.
#[derive(Clone, Debug)]
pub(crate) struct ThetaLayout {
    /// Start and length of each parameter's block; length 0 for buffers.
    pub blocks: Vec<(usize, usize)>,
    pub len: usize,
}

impl ThetaLayout {
    pub(crate) fn new(p: &Program) -> ThetaLayout {
        let mut len: Vec<usize> =
            p.params.iter().map(|q| if q.trainable { q.len.next_multiple_of(16) } else { 0 }).collect();
        for s in &p.steps {
            if let Kind::Conv(c) = &s.kind {
                let taps = c.kernel * c.kernel;
                len[c.weight] = taps * c.cin.next_multiple_of(16) * c.cout.next_multiple_of(16);
            }
        }
        let mut at = 0;
        let blocks = len
            .iter()
            .map(|&n| {
                at += n;
                (at - n, n)
            })
            .collect();
        ThetaLayout { blocks, len: at }
    }
}

/// Running sums of all weight gradients.
pub(crate) struct Theta<'a> {
    pub layout: &'a ThetaLayout,
    pub d: &'a mut [f32],
}

impl Theta<'_> {
    /// The block of one parameter.
    pub(crate) fn of(&mut self, id: ParamId) -> &mut [f32] {
        let (at, n) = self.layout.blocks[id];
        &mut self.d[at..at + n]
    }
}

/// Gradients of the named parameters from the summed blocks.
pub(crate) fn unpack(
    p: &Program,
    packed: &Packed,
    layout: &ThetaLayout,
    theta: &[f32],
) -> Vec<(String, Vec<f32>)> {
    let mut of_param: Vec<Option<Vec<f32>>> = vec![None; p.params.len()];
    for s in &p.steps {
        let Kind::Conv(c) = &s.kind else { continue };
        let taps = c.kernel * c.kernel;
        let cpad = c.cin.next_multiple_of(16);
        let block = &theta[layout.blocks[c.weight].0..][..layout.blocks[c.weight].1];
        let f = if c.algorithm == Algorithm::Boxes { 1.0 / 9.0 } else { 1.0 };
        let mut g = vec![0f32; p.params[c.weight].len];
        for (o, row) in g.chunks_exact_mut(c.cin * taps).enumerate() {
            let lane = &block[(o / 16) * taps * cpad * 16 + o % 16..];
            for (i, w) in row.chunks_exact_mut(taps).enumerate() {
                for (t, v) in w.iter_mut().enumerate() {
                    *v = f * lane[(t * cpad + i) * 16];
                }
            }
        }
        chain_rule(c, &packed.convs[c.index], &packed.raw, &mut g);
        of_param[c.weight] = Some(g);
    }
    p.params
        .iter()
        .zip(of_param)
        .enumerate()
        .filter(|(_, (q, _))| q.trainable)
        .map(|(id, (q, g))| {
            let at = layout.blocks[id].0;
            (q.name.clone(), g.unwrap_or_else(|| theta[at..at + q.len].to_vec()))
        })
        .collect()
}
