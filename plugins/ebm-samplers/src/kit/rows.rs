//! Metropolis arithmetic row by row, in one loop, where tensors lie in one piece on the processor.
//!
//! Small networks take less time for a slope than twenty tensor operations take around it. Each function here
//! does what a few tensor operations do, with the same random numbers and each operation rounded on its own, and
//! returns `None` where tensors are elsewhere, so that the tensor operations stay the definition. Sums over the
//! coordinates of rows of sixteen and more go by sixteen lanes, so there the last bits may differ.
//!
//! ```
//! use ebm_core::candle::{Device, Tensor};
//! use ebm_samplers::kit::{Sizes, rows};
//!
//! let (x, v) = (Tensor::new(&[[1f64, 2.0]], &Device::Cpu)?, Tensor::new(&[[10f64, 20.0]], &Device::Cpu)?);
//! assert_eq!(rows::moved(&x, &Sizes::Common(0.5), &v)?.to_vec2::<f64>()?, [[6.0, 12.0]]);
//! # Ok::<(), ebm_core::Error>(())
//! ```
//!
//! A function errs if a tensor cannot be read or made. Rows are the first axis, `(B, ...)`; `h`, `c`, `sigma` have one number a row.

use ebm_core::candle::{CpuStorage, DType, Device, Storage, Tensor, WithDType};
use ebm_core::{Chains, Key, Result, Slope};

use super::Sizes;

/// What the loops need of a number type.
trait Real: WithDType + Default {
    fn exp(self) -> Self;
    fn single(v: f32) -> Self;
}

impl Real for f32 {
    fn exp(self) -> Self {
        f32::exp(self)
    }
    fn single(v: f32) -> Self {
        v
    }
}

impl Real for f64 {
    fn exp(self) -> Self {
        f64::exp(self)
    }
    fn single(v: f32) -> Self {
        f64::from(v)
    }
}

/// Calls `f` with the entries of the tensors, if all are contiguous on the processor and of type `T`.
fn slices<T: Real, const N: usize, R>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[T]; N]) -> Result<R>,
) -> Result<Option<R>> {
    let fits = |t: &&Tensor| t.dtype() == T::DTYPE && t.device().is_cpu() && t.is_contiguous();
    if !tensors.iter().all(fits) {
        return Ok(None);
    }
    let guards = tensors.map(|t| t.storage_and_layout());
    let mut parts: [&[T]; N] = [&[]; N];
    for (part, (storage, layout)) in parts.iter_mut().zip(&guards) {
        let Storage::Cpu(cpu) = &**storage else { return Ok(None) };
        let start = layout.start_offset();
        *part = &entries::<T>(cpu)?[start..start + layout.shape().elem_count()];
    }
    f(parts).map(Some)
}

fn entries<T: Real>(cpu: &CpuStorage) -> Result<&[T]> {
    Ok(T::cpu_storage_as_slice(cpu)?)
}

/// `f32` or `f64` by the dtype of `$like`; `None` for others.
macro_rules! by_type {
    ($like:expr, $f:ident ( $($arg:expr),* )) => {
        match $like.dtype() {
            DType::F32 => $f::<f32>($($arg),*),
            DType::F64 => $f::<f64>($($arg),*),
            _ => Ok(None),
        }
    };
}

pub(crate) mod sums;

/// Floats of one row, at least 1.
fn width(t: &Tensor) -> usize {
    (t.elem_count() / t.dims().first().copied().unwrap_or(1).max(1)).max(1)
}

fn tensor<T: Real>(v: Vec<T>, like: &Tensor) -> Result<Tensor> {
    Ok(Tensor::from_vec(v, like.shape(), &Device::Cpu)?)
}

/// `x − h·g + σ·ε`.
pub fn langevin(
    x: &Tensor,
    g: &Tensor,
    h: &Sizes,
    sigma: &Sizes,
    key: Key,
    chains: &Chains,
) -> Result<Option<Tensor>> {
    fn go<T: Real>(
        x: &Tensor,
        g: &Tensor,
        h: &Sizes,
        sigma: &Sizes,
        key: Key,
        chains: &Chains,
    ) -> Result<Option<Tensor>> {
        let w = width(x);
        slices([x, g], |[a, g]: [&[T]; 2]| {
            let mut eps = vec![0f32; a.len()];
            if !eps.is_empty() {
                key.fill_normal_rows(chains.ids(), w, &mut eps);
            }
            let mut new = Vec::with_capacity(a.len());
            for (r, ((a, g), e)) in
                a.chunks_exact(w).zip(g.chunks_exact(w)).zip(eps.chunks_exact(w)).enumerate()
            {
                let (h, sigma) = (T::from_f64(h.at(r)), T::from_f64(sigma.at(r)));
                new.extend(a.iter().zip(g).zip(e).map(|((a, g), e)| (*a - *g * h) + T::single(*e) * sigma));
            }
            tensor(new, x)
        })
    }
    by_type!(x, go(x, g, h, sigma, key, chains))
}

/// Sum over a row: in order if it is short, in sixteen lanes otherwise.
fn sum<T: Real>(row: impl ExactSizeIterator<Item = T>) -> T {
    if row.len() < 16 {
        return row.fold(T::zero(), |s, v| s + v);
    }
    let mut lanes = [T::zero(); 16];
    row.enumerate().for_each(|(i, v)| lanes[i % 16] += v);
    lanes.iter().fold(T::zero(), |s, v| s + *v)
}

/// An end of a move: position, energy, gradient.
#[derive(Clone, Copy)]
pub struct End<'a> {
    /// Position, `(B, ...)`.
    pub x: &'a Tensor,
    /// Energy there, `(B,)`.
    pub energy: &'a Tensor,
    /// Gradient there, `(B, ...)`.
    pub grad: &'a Tensor,
}

impl<'a> End<'a> {
    /// At `x`, where the slope is `slope`.
    pub fn of(x: &'a Tensor, slope: &'a Slope) -> Self {
        End { x, energy: &slope.energy, grad: &slope.grad }
    }
}

/// Logarithm of the Metropolis ratio of a Langevin move of step size h at temperature t, `(B,)`; −∞ outside of `range`.
pub fn langevin_ratio(
    from: End<'_>,
    to: End<'_>,
    h: &Sizes,
    t: f64,
    range: Option<(f64, f64)>,
) -> Result<Option<Tensor>> {
    fn go<T: Real>(
        a: End<'_>,
        b: End<'_>,
        h: &Sizes,
        t: f64,
        range: Option<(f64, f64)>,
    ) -> Result<Option<Tensor>> {
        let w = width(a.x);
        let (lo, hi) = range.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        let (lo, hi) = (T::from_f64(lo), T::from_f64(hi));
        let inverse = T::from_f64(1.0 / t);
        slices([a.x, a.energy, a.grad, b.x, b.energy, b.grad], |[x, e, g, y, f, k]: [&[T]; 6]| {
            let ratio = (0..e.len()).map(|r| {
                let (scale, h) = (T::from_f64(-1.0 / (4.0 * h.at(r) * t)), T::from_f64(h.at(r)));
                let half = |from: &[T], grad: &[T], to: &[T]| {
                    sum(from.iter().zip(grad).zip(to).map(|((from, g), to)| {
                        let gap = (*to - *from) + *g * h;
                        gap * gap
                    })) * scale
                };
                let at = r * w..(r + 1) * w;
                let (x, g, y, k) = (&x[at.clone()], &g[at.clone()], &y[at.clone()], &k[at]);
                if range.is_some() && !y.iter().all(|v| *v >= lo && *v <= hi) {
                    return T::from_f64(f64::NEG_INFINITY);
                }
                (((e[r] - f[r]) * inverse) + half(y, k, x)) - half(x, g, y)
            });
            tensor(ratio.collect(), a.energy)
        })
    }
    by_type!(from.x, go(from, to, h, t, range))
}

/// `a + c·b`, one `c` a row.
pub fn moved(a: &Tensor, c: &Sizes, b: &Tensor) -> Result<Tensor> {
    fn go<T: Real>(a: &Tensor, c: &Sizes, b: &Tensor) -> Result<Option<Tensor>> {
        let w = width(a);
        slices([a, b], |[x, y]: [&[T]; 2]| {
            let mut new = Vec::with_capacity(x.len());
            for (r, (x, y)) in x.chunks_exact(w).zip(y.chunks_exact(w)).enumerate() {
                let c = T::from_f64(c.at(r));
                new.extend(x.iter().zip(y).map(|(x, y)| *x + *y * c));
            }
            tensor(new, a)
        })
    }
    match by_type!(a, go(a, c, b))? {
        Some(t) => Ok(t),
        None => Ok((a + c.times(b)?)?),
    }
}

/// Rows of `new` where `taken`, rows of `old` elsewhere.
pub fn select(taken: &[bool], new: &Tensor, old: &Tensor) -> Result<Option<Tensor>> {
    fn go<T: Real>(taken: &[bool], new: &Tensor, old: &Tensor) -> Result<Option<Tensor>> {
        let w = width(new);
        slices([new, old], |[a, b]: [&[T]; 2]| {
            let mut out = b.to_vec();
            for (r, _) in taken.iter().enumerate().filter(|(_, t)| **t) {
                out[r * w..(r + 1) * w].copy_from_slice(&a[r * w..(r + 1) * w]);
            }
            tensor(out, old)
        })
    }
    if new.dims() != old.dims() || new.dims().first() != Some(&taken.len()) || new.elem_count() == 0 {
        return Ok(None);
    }
    by_type!(new, go(taken, new, old))
}

/// What is drawn: taken or not, the same as a tensor, the chance.
pub type Draws = (Vec<bool>, Tensor, Tensor);

/// Takes each row with the chance `min(1, exp log_ratio)`, 0 if that is not a number or infinite.
pub fn decide(log_ratio: &Tensor, chains: &Chains, key: Key) -> Result<Option<Draws>> {
    fn go<T: Real>(log_ratio: &Tensor, chains: &Chains, key: Key) -> Result<Option<Draws>> {
        slices([log_ratio], |[ratio]: [&[T]; 1]| {
            let infinite = T::from_f64(f64::INFINITY);
            let mut chance = Vec::with_capacity(ratio.len());
            let mut taken = Vec::with_capacity(ratio.len());
            for (r, id) in ratio.iter().zip(chains.ids()) {
                let size = if *r < T::zero() { T::zero() - *r } else { *r };
                let p = match size < infinite {
                    true => (if *r < T::zero() { *r } else { T::zero() }).exp(),
                    false => T::zero(),
                };
                let mut u = [0f32];
                key.fill_uniform(*id, &mut u);
                taken.push(T::single(u[0]) < p);
                chance.push(p);
            }
            let accepted = taken.iter().map(|t| if *t { T::one() } else { T::zero() }).collect();
            let accepted = tensor(accepted, log_ratio)?;
            Ok((taken, accepted, tensor(chance, log_ratio)?))
        })
    }
    if log_ratio.dims() != [chains.len()] {
        return Ok(None);
    }
    by_type!(log_ratio, go(log_ratio, chains, key))
}

/// 1 where a log ratio below `least` or no number, or an energy that is not finite, says that a move diverged, else 0, `(B,)`; a ratio of −∞
/// at a finite energy is that of a box.
pub(super) fn diverged(log_ratio: &Tensor, energy: &Tensor, least: f64) -> Result<Option<Tensor>> {
    fn go<T: Real>(log_ratio: &Tensor, energy: &Tensor, least: f64) -> Result<Option<Tensor>> {
        let (infinite, least) = (T::from_f64(f64::INFINITY), T::from_f64(least));
        let lowest = T::from_f64(f64::NEG_INFINITY);
        slices([log_ratio, energy], |[ratio, energy]: [&[T]; 2]| {
            let of = |(r, e): (&T, &T)| {
                // Comparisons with NaN are false.
                let sane = *r >= least && *r < infinite;
                let outside = *r == lowest && *e > lowest && *e < infinite;
                if sane || outside { T::zero() } else { T::one() }
            };
            tensor(ratio.iter().zip(energy).map(of).collect(), log_ratio)
        })
    }
    by_type!(log_ratio, go(log_ratio, energy, least))
}

/// Energies of a row-wise jump: `log_ratio = (e − f)/t`, −∞ where `y` leaves `range`, `(B,)`.
pub fn jump_ratio(
    e: &Tensor,
    f: &Tensor,
    y: &Tensor,
    t: f64,
    range: Option<(f64, f64)>,
) -> Result<Option<Tensor>> {
    fn go<T: Real>(
        e: &Tensor,
        f: &Tensor,
        y: &Tensor,
        t: f64,
        range: Option<(f64, f64)>,
    ) -> Result<Option<Tensor>> {
        let w = width(y);
        let (lo, hi) = range.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        let (lo, hi, inverse) = (T::from_f64(lo), T::from_f64(hi), T::from_f64(1.0 / t));
        slices([e, f, y], |[e0, f0, y]: [&[T]; 3]| {
            let ratio = e0.iter().zip(f0).zip(y.chunks_exact(w)).map(|((a, b), y)| {
                match range.is_none() || y.iter().all(|v| *v >= lo && *v <= hi) {
                    true => (*a - *b) * inverse,
                    false => T::from_f64(f64::NEG_INFINITY),
                }
            });
            tensor(ratio.collect(), e)
        })
    }
    by_type!(e, go(e, f, y, t, range))
}

/// `x + γ·(p_i − p_j)` for pairs of rows of `points`.
pub fn differences(
    x: &Tensor,
    points: &Tensor,
    pairs: (&[u32], &[u32]),
    scale: f64,
) -> Result<Option<Tensor>> {
    fn go<T: Real>(
        x: &Tensor,
        points: &Tensor,
        (i, j): (&[u32], &[u32]),
        scale: f64,
    ) -> Result<Option<Tensor>> {
        let (w, scale) = (width(x), T::from_f64(scale));
        slices([x, points], |[a, p]: [&[T]; 2]| {
            let mut out = Vec::with_capacity(a.len());
            for (row, (i, j)) in a.chunks_exact(w).zip(i.iter().zip(j)) {
                let (p, q) = (&p[*i as usize * w..][..w], &p[*j as usize * w..][..w]);
                out.extend(row.iter().zip(p).zip(q).map(|((x, p), q)| *x + (*p - *q) * scale));
            }
            tensor(out, x)
        })
    }
    if x.dims().get(1..) != points.dims().get(1..) || x.elem_count() == 0 || x.dtype() != points.dtype() {
        return Ok(None);
    }
    by_type!(x, go(x, points, pairs, scale))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::{Batch, row_sum};

    use super::*;
    use crate::kit::{Decision, outside};

    fn random(seed: u64, shape: &[usize], dtype: DType) -> Tensor {
        Key::root(seed).normal(&Chains::range(0, shape[0]), &shape[1..], dtype, &Device::Cpu).unwrap()
    }

    fn bits(t: &Tensor) -> Vec<u64> {
        let t = t.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
        t.to_vec1::<f64>().unwrap().into_iter().map(f64::to_bits).collect()
    }

    /// Every loop against its tensor operations, bit for bit, on rows shorter than a lane.
    #[test]
    fn loops_have_the_bits_of_the_tensor_operations() {
        for dtype in [DType::F32, DType::F64] {
            let key = Key::root(4).at("noise");
            let ids = Chains::range(1 << 40, 37);
            let at = |s: u64| random(s, &[37, 6], dtype);
            let (x, g, k, y) = (at(1), at(2), at(3), at(4));
            let (e, f) = (random(5, &[37], dtype), random(6, &[37], dtype));
            let eps = key.normal(&ids, &[6], dtype, &Device::Cpu).unwrap();
            let (h, t, range) = (0.3, 0.7, Some((-1.5, 1.5)));
            let slow = ((&x - g.affine(h, 0.0).unwrap()).unwrap() + eps.affine(0.2, 0.0).unwrap()).unwrap();
            let (one, sigma) = (Sizes::Common(h), Sizes::Common(0.2));
            assert_eq!(bits(&langevin(&x, &g, &one, &sigma, key, &ids).unwrap().unwrap()), bits(&slow));
            // A list of equal step sizes is the common one; another one is that of each row.
            let all = Sizes::Rows(vec![h; 37]);
            let sigmas = Sizes::Rows(vec![0.2; 37]);
            assert_eq!(bits(&langevin(&x, &g, &all, &sigmas, key, &ids).unwrap().unwrap()), bits(&slow));
            let mixed = Sizes::Rows((0..37).map(|r| 0.1 + 0.01 * f64::from(r)).collect());
            let slow = (&x + mixed.times(&g).unwrap()).unwrap();
            assert_eq!(bits(&moved(&x, &mixed, &g).unwrap()), bits(&slow));
            let half = |from: &Tensor, grad: &Tensor, to: &Tensor| {
                let gap = ((to - from).unwrap() + grad.affine(h, 0.0).unwrap()).unwrap();
                row_sum(&gap.sqr().unwrap()).unwrap().affine(-1.0 / (4.0 * h * t), 0.0).unwrap()
            };
            let gain = (&e - &f).unwrap().affine(1.0 / t, 0.0).unwrap();
            let barrier = outside(&y, range).unwrap().unwrap();
            let slow = ((&gain + half(&y, &k, &x)).unwrap() - half(&x, &g, &y)).unwrap();
            let slow = (slow + &barrier).unwrap();
            let (from, to) = (End { x: &x, energy: &e, grad: &g }, End { x: &y, energy: &f, grad: &k });
            let fast = langevin_ratio(from, to, &one, t, range).unwrap().unwrap();
            assert_eq!(bits(&fast), bits(&slow));
            let fast = langevin_ratio(from, to, &all, t, range).unwrap().unwrap();
            assert_eq!(bits(&fast), bits(&slow));
            assert!(bits(&fast).contains(&f64::NEG_INFINITY.to_bits()), "some rows are outside");
            let jump = jump_ratio(&e, &f, &y, t, range).unwrap().unwrap();
            assert_eq!(bits(&jump), bits(&(gain + barrier).unwrap()));
            let (i, j): (Vec<u32>, Vec<u32>) = (0..37).map(|r| (r % 5, (r + 3) % 36)).unzip();
            let pick = |v: &[u32]| y.index_select(&Tensor::new(v, &Device::Cpu).unwrap(), 0).unwrap();
            let slow = (&x + (pick(&i) - pick(&j)).unwrap().affine(0.9, 0.0).unwrap()).unwrap();
            assert_eq!(bits(&differences(&x, &y, (&i, &j), 0.9).unwrap().unwrap()), bits(&slow));
            let slow = (&x + g.affine(0.4, 0.0).unwrap()).unwrap();
            assert_eq!(bits(&moved(&x, &Sizes::Common(0.4), &g).unwrap()), bits(&slow));
        }
    }

    /// The decision on a view that is not contiguous goes by tensor operations: the same rows are taken.
    #[test]
    fn decisions_do_not_depend_on_the_layout() {
        let wide = random(7, &[64, 2], DType::F32).affine(2.0, -1.0).unwrap();
        let ratio = wide.narrow(1, 0, 1).unwrap().squeeze(1).unwrap();
        assert!(!ratio.is_contiguous());
        let ids = Chains::range(5, 64);
        let a = Decision::draw(&ratio, &ids, Key::root(1)).unwrap();
        let b = Decision::draw(&ratio.contiguous().unwrap(), &ids, Key::root(1)).unwrap();
        assert_eq!(bits(&a.accepted), bits(&b.accepted));
        assert_eq!(bits(&a.chance), bits(&b.chance));
        let (x, y) = (random(8, &[64, 3], DType::F32), random(9, &[64, 3], DType::F32));
        assert_eq!(bits(&a.select(&x, &y).unwrap()), bits(&b.select(&x, &y).unwrap()));
        let taken = a.accepted.sum_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(taken > 0.0 && taken < 64.0);
        assert!(Batch::new(x).is_ok());
    }
}
