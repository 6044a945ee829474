//! A machine of binary units on the processor in single precision: sums over the units that are on.
//!
//! A product of binary rows with a matrix is a sum of its rows, which for pixels of digits is an eighth of the work. Sums go
//! in the order of the units whatever the instruction set, so all give the same bits.

use ebm_core::candle::{DType, Tensor};
use ebm_core::{Result, View, host};

use super::Units;

ebm_core::widened! {
    /// `out = base + Σ_i x_i · matrix_i` for each row of `x`, whose entries are 0 or 1.
    pub(super) fn gather(x: &[f32], matrix: &[f32], base: &[f32], out: &mut [f32]) = gather_plain, gather_plain
}

#[inline(always)]
fn gather_plain(x: &[f32], matrix: &[f32], base: &[f32], out: &mut [f32]) {
    let m = base.len();
    let n = matrix.len() / m.max(1);
    for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(m)) {
        out.copy_from_slice(base);
        for (x, row) in x.iter().zip(matrix.chunks_exact(m)) {
            if *x != 0.0 {
                out.iter_mut().zip(row).for_each(|(o, w)| *o += w);
            }
        }
    }
}

ebm_core::widened! {
    /// `matrix_i += Σ_b x_bi · q_b`, the entries of `x` 0 or 1.
    pub(super) fn scatter(x: &[f32], q: &[f32], m: usize, matrix: &mut [f32]) = scatter_plain, scatter_plain
}

#[inline(always)]
fn scatter_plain(x: &[f32], q: &[f32], m: usize, matrix: &mut [f32]) {
    let n = matrix.len() / m.max(1);
    for (x, q) in x.chunks_exact(n).zip(q.chunks_exact(m)) {
        for (x, row) in x.iter().zip(matrix.chunks_exact_mut(m)) {
            if *x != 0.0 {
                row.iter_mut().zip(q).for_each(|(w, q)| *w += q);
            }
        }
    }
}

ebm_core::widened! {
    /// Adds `factor · a_i · q` to row `i`.
    pub(super) fn rank_one(a: &[f32], q: &[f32], factor: f32, matrix: &mut [f32]) = rank_one_plain, rank_one_plain
}

#[inline(always)]
fn rank_one_plain(a: &[f32], q: &[f32], factor: f32, matrix: &mut [f32]) {
    for (a, row) in a.iter().zip(matrix.chunks_exact_mut(q.len().max(1))) {
        let f = factor * a;
        row.iter_mut().zip(q).for_each(|(w, q)| *w += f * q);
    }
}

ebm_core::widened! {
    /// Chances `1/(1 + e^(−a))` in place of log odds, and `log(1 + e^a)` of each in `soft`.
    pub(super) fn laws(odds: &mut [f32], soft: &mut [f32]) = laws_plain, laws_plain
}

#[inline(always)]
fn laws_plain(odds: &mut [f32], soft: &mut [f32]) {
    for (a, soft) in odds.iter_mut().zip(soft) {
        let t = exp_below(-a.abs());
        let share = 1.0 / (1.0 + t);
        // log(1 + t) = 2 artanh(t/(2 + t)), of an argument of at most a third: the next term is below 1e-7.
        let s = t / (2.0 + t);
        let q = s * s;
        let odd = 1.0
            + q * (1.0 / 3.0 + q * (0.2 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q * (1.0 / 11.0 + q / 13.0)))));
        *soft = a.max(0.0) + 2.0 * s * odd;
        *a = if *a >= 0.0 { share } else { t * share };
    }
}

/// `e^x` for x ≤ 0, to 2e-7 relative: e^r by its series for |r| ≤ ½ log 2, times a power of 2; 0 below −87.
#[inline(always)]
fn exp_below(x: f32) -> f32 {
    let x = x.max(-87.0);
    // Adding and taking off 1.5·2²³ rounds to a whole number.
    let k = (x * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    let r = (x - k * 0.693_359_4) + k * 2.121_944_4e-4;
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r / 720.0)))));
    p * f32::from_bits(((k as i32 + 127) as u32) << 23)
}

/// The parameters of a machine, and what follows from them once for a call.
pub(super) struct Machine {
    pub weight: Vec<f32>,
    pub visible: Vec<f32>,
    /// Means of the visible units, where it is centred.
    pub offset: Option<Vec<f32>>,
    /// What hidden units stand about in products: 0 where it is not.
    pub centre: Vec<f32>,
    /// Log odds of hidden units where all visible ones are off.
    base: Vec<f32>,
    /// Number of hidden units.
    pub m: usize,
}

impl Machine {
    /// That of these parameters; `None` where samples are not of single precision on the processor.
    pub fn of(p: &View, x: &Tensor) -> Result<Option<Machine>> {
        let weight = p.get("weight")?;
        if x.dtype() != DType::F32
            || !x.device().is_cpu()
            || weight.dtype() != DType::F32
            || x.elem_count() == 0
        {
            return Ok(None);
        }
        let offset = if p.has("offset") { Some(host::singles(p.get("offset")?)?) } else { None };
        let (weight, mut base) = (host::singles(weight)?, host::singles(p.get("hidden")?)?);
        if let Some(mean) = &offset {
            for (mean, row) in mean.iter().zip(weight.chunks_exact(base.len())) {
                base.iter_mut().zip(row).for_each(|(b, w)| *b -= mean * w);
            }
        }
        let (visible, m) = (host::singles(&Units::visible(p)?)?, base.len());
        let centre = if p.has("centre") { host::singles(p.get("centre")?)? } else { vec![0.0; m] };
        Ok(Some(Machine { weight, visible, offset, centre, base, m }))
    }

    /// Log odds of the hidden units of each row; `None` if a visible one is neither 0 nor 1.
    pub fn odds(&self, x: &[f32]) -> Option<Vec<f32>> {
        let n = self.visible.len();
        if x.iter().any(|v| *v != 0.0 && *v != 1.0) {
            return None;
        }
        let mut out = vec![0f32; x.len() / n.max(1) * self.m];
        gather(x, &self.weight, &self.base, &mut out);
        Some(out)
    }

    /// Energies of rows with these log odds, of which [`laws`] makes chances.
    pub fn energies(&self, x: &[f32], odds: &mut [f32]) -> Vec<f32> {
        let n = self.visible.len();
        let of_means: f64 = match &self.offset {
            Some(mean) => mean.iter().zip(&self.visible).map(|(m, b)| f64::from(m * b)).sum(),
            None => 0.0,
        };
        let mut soft = vec![0f32; odds.len()];
        let pull = |a: &[f32]| a.iter().zip(&self.centre).map(|(a, c)| f64::from(a * c)).sum::<f64>();
        let pulls: Vec<f64> = odds.chunks_exact(self.m).map(pull).collect();
        laws(odds, &mut soft);
        let rows = x.chunks_exact(n).zip(soft.chunks_exact(self.m)).zip(pulls);
        rows.map(|((x, soft), pull)| {
            let own: f64 = x.iter().zip(&self.visible).map(|(x, b)| f64::from(x * b)).sum();
            let hidden: f64 = soft.iter().map(|v| f64::from(*v)).sum();
            (of_means - own + pull - hidden) as f32
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_and_logarithms_are_those_of_double_precision() {
        let mut a: Vec<f32> = (-4000..4000).map(|i| i as f32 * 0.025).collect();
        a.extend([0.0, -0.0, 200.0, -200.0, 1e-8]);
        let (mut chance, mut soft) = (a.clone(), vec![0f32; a.len()]);
        laws(&mut chance, &mut soft);
        for ((a, c), s) in a.iter().zip(&chance).zip(&soft) {
            let exact = f64::from(*a);
            let (want, wanted) =
                (1.0 / (1.0 + (-exact).exp()), exact.max(0.0) + (-exact.abs()).exp().ln_1p());
            // A few roundings of single precision; below e^-87 both are 0.
            assert!((f64::from(*c) - want).abs() <= 1e-6 * want + 2e-38, "{a}: {c} {want}");
            assert!((f64::from(*s) - wanted).abs() <= 1e-6 * wanted + 2e-38, "{a}: {s} {wanted}");
        }
    }
}
