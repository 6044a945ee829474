//! Updates entry by entry in one loop where tensors lie in one piece on the CPU.
//!
//! An update is a function from the entries of `N` tensors to the entries of `M` new ones. One loop
//! reads and writes every entry once, which for small networks is several times faster than a
//! tensor operation for each arithmetic step.

use ebm_core::Result;
use ebm_core::candle::{CpuStorage, DType, Device, Storage, Tensor};

/// Applies `f` to the entries of `inputs`, if all are contiguous, on the CPU, of one shape and of
/// one floating type; `None` otherwise.
pub(crate) fn map<const N: usize, const M: usize>(
    inputs: [&Tensor; N],
    f32s: impl Fn([f32; N]) -> [f32; M],
    f64s: impl Fn([f64; N]) -> [f64; M],
) -> Result<Option<[Tensor; M]>> {
    let first = inputs[0];
    let alike = |t: &&Tensor| t.dims() == first.dims() && t.dtype() == first.dtype() && t.is_contiguous();
    if !first.device().is_cpu() || !inputs.iter().all(alike) {
        return Ok(None);
    }
    match first.dtype() {
        DType::F32 => run(inputs, |s| if let CpuStorage::F32(v) = s { Some(v) } else { None }, f32s),
        DType::F64 => run(inputs, |s| if let CpuStorage::F64(v) = s { Some(v) } else { None }, f64s),
        _ => Ok(None),
    }
}

fn run<T: ebm_core::candle::WithDType + Default, const N: usize, const M: usize>(
    inputs: [&Tensor; N],
    values: impl Fn(&CpuStorage) -> Option<&Vec<T>>,
    f: impl Fn([T; N]) -> [T; M],
) -> Result<Option<[Tensor; M]>> {
    let n = inputs[0].elem_count();
    let guards = inputs.map(|t| t.storage_and_layout());
    let mut slices: [&[T]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&guards) {
        let Storage::Cpu(cpu) = &**storage else { return Ok(None) };
        let Some(all) = values(cpu) else { return Ok(None) };
        *slice = &all[layout.start_offset()..layout.start_offset() + n];
    }
    let mut out: [Vec<T>; M] = std::array::from_fn(|_| vec![T::default(); n]);
    for i in 0..n {
        let new = f(std::array::from_fn(|k| slices[k][i]));
        for (o, v) in out.iter_mut().zip(new) {
            o[i] = v;
        }
    }
    let shape = inputs[0].shape();
    let mut tensors = Vec::with_capacity(M);
    for v in out {
        tensors.push(Tensor::from_vec(v, shape, &Device::Cpu)?);
    }
    Ok(tensors.try_into().ok())
}
