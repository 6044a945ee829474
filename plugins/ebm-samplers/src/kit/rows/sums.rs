//! What an accept test adds up over the coordinates of short rows, with the bits of the tensor operations; longer ones are left to these, so
//! that runs of earlier programs go on as they did.

use ebm_core::candle::{DType, Tensor};
use ebm_core::{Result, row_mean, row_sum};

use super::{End, Real, slices, sum, tensor, width};

/// Rows from this width on are added up in lanes, by tensor operations other ones than here.
const LANES: usize = 16;

/// Mean of the squares of each row of `x`, `(B,)` like `like`.
pub(crate) fn mean_square(x: &Tensor, like: &Tensor) -> Result<Tensor> {
    fn go<T: Real>(x: &Tensor, like: &Tensor) -> Result<Option<Tensor>> {
        let w = width(x);
        let share = T::from_f64(1.0 / w as f64);
        slices([x], |[x]: [&[T]; 1]| {
            tensor(x.chunks_exact(w).map(|x| sum(x.iter().map(|x| *x * *x)) * share).collect(), like)
        })
    }
    let fast = match x.elem_count() > 0 && width(x) < LANES {
        true => by_type!(x, go(x, like))?,
        false => None,
    };
    match fast {
        Some(means) => Ok(means),
        None => row_mean(&x.sqr()?),
    }
}

/// Logarithm of the Metropolis ratio of a trajectory at temperature `t`, `−ΔH` with `H = E/t + |v|²/2`, `(B,)`; of its ends are the energies,
/// and as gradients the momenta.
pub(crate) fn hamiltonian_ratio(from: End<'_>, to: End<'_>, t: f64) -> Result<Tensor> {
    fn go<T: Real>(from: End<'_>, to: End<'_>, t: f64) -> Result<Option<Tensor>> {
        let (w, inverse, half) = (width(from.grad), T::from_f64(1.0 / t), T::from_f64(0.5));
        slices([from.energy, from.grad, to.energy, to.grad], |[e, v, f, u]: [&[T]; 4]| {
            let square = |v: &[T]| sum(v.iter().map(|v| *v * *v));
            let momenta = v.chunks_exact(w).zip(u.chunks_exact(w));
            let ratio = e.iter().zip(f).zip(momenta);
            let ratio = ratio.map(|((e, f), (v, u))| (square(v) - square(u)) * half + (*e - *f) * inverse);
            tensor(ratio.collect(), from.energy)
        })
    }
    let fast = match from.grad.elem_count() > 0 && width(from.grad) < LANES {
        true => by_type!(from.grad, go(from, to, t))?,
        false => None,
    };
    if let Some(ratio) = fast {
        return Ok(ratio);
    }
    let kinetic = (row_sum(&from.grad.sqr()?)? - row_sum(&to.grad.sqr()?)?)?.affine(0.5, 0.0)?;
    Ok((kinetic + (from.energy - to.energy)?.affine(1.0 / t, 0.0)?)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::Device;
    use ebm_core::{Chains, Key, host};

    use super::*;

    /// The loops against the tensor operations, which views that do not lie in one piece take, bit for bit.
    #[test]
    fn sums_are_those_of_the_tensor_operations() {
        for dtype in [DType::F32, DType::F64] {
            for shape in [&[7, 3][..], &[5, 3, 5], &[5, 2, 20]] {
                let random = |seed: u64, dims: &[usize]| {
                    let chains = Chains::range(0, dims[0]);
                    Key::root(seed).normal(&chains, &dims[1..], dtype, &Device::Cpu).unwrap()
                };
                let (v, u) = (random(1, shape), random(2, shape));
                let (e, f) = (random(3, &shape[..1]), random(4, &shape[..1]));
                let strided = |t: &Tensor| {
                    let rank = t.rank();
                    Tensor::stack(&[t, t], rank).unwrap().narrow(rank, 0, 1).unwrap().squeeze(rank).unwrap()
                };
                let same = |a: &Tensor, b: &Tensor| {
                    assert_eq!(a.dims(), &shape[..1]);
                    assert_eq!(host::numbers(a).unwrap(), host::numbers(b).unwrap(), "{shape:?}");
                };
                assert!(!strided(&v).is_contiguous());
                same(&mean_square(&v, &e).unwrap(), &mean_square(&strided(&v), &e).unwrap());
                let [from, to] = [(&e, &v), (&f, &u)].map(|(energy, grad)| End { x: grad, energy, grad });
                let other = strided(&v);
                let slow = hamiltonian_ratio(End { grad: &other, ..from }, to, 0.7).unwrap();
                same(&hamiltonian_ratio(from, to, 0.7).unwrap(), &slow);
            }
        }
    }
}
