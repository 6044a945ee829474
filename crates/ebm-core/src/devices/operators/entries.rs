//! Formulas on the entries of tensors, by the best way there is for the tensors' device.

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor, WithDType};

use super::{Elementwise, Entry, Formula, operators};

/// `formula` on every entry of `inputs`, which have one shape and type: one loop that reads and writes each entry once where they lie in
/// one piece on the processor, one kernel where the device has [`ElementwiseOps`](super::ElementwiseOps), else tensor operations.
///
/// ```
/// use ebm_core::candle::{Device, Tensor};
/// use ebm_core::operators::{Entry, Formula, map_entries};
///
/// /// p − rate·g.
/// struct Descent {
///     rate: f64,
/// }
/// impl Formula<1, 2, 1> for Descent {
///     fn numbers(&self) -> [f64; 1] {
///         [self.rate]
///     }
///     fn entry<E: Entry>([rate]: [E; 1], [p, g]: [E; 2]) -> [E; 1] {
///         [p - rate * g]
///     }
/// }
/// let (p, g) = (Tensor::new(&[1f64, 2.0], &Device::Cpu)?, Tensor::new(&[2f64, -2.0], &Device::Cpu)?);
/// let [p] = map_entries(&Descent { rate: 0.5 }, [&p, &g])?;
/// assert_eq!(p.to_vec1::<f64>()?, [0.0, 3.0]);
/// # Ok::<(), ebm_core::candle::Error>(())
/// ```
///
/// # Errors
/// If shapes differ or an operation fails.
pub fn map_entries<F: Formula<K, N, M>, const K: usize, const N: usize, const M: usize>(
    formula: &F,
    inputs: [&Tensor; N],
) -> Result<[Tensor; M]> {
    let [first, ..] = inputs.as_slice() else { candle_core::bail!("a formula of no tensor") };
    let numbers = formula.numbers();
    if let Some(o) = operators(first.device()).and_then(|o| o.elementwise.clone())
        && let Some(done) = o.map(&Elementwise::of::<F, K, N, M>(), &numbers, &inputs)?
    {
        return exactly(done);
    }
    let alike = |t: &&Tensor| t.dims() == first.dims() && t.dtype() == first.dtype() && t.is_contiguous();
    if first.device().is_cpu() && inputs.iter().all(alike) {
        let done = match first.dtype() {
            DType::F32 => in_a_loop::<F, f32, K, N, M>(numbers.map(|v| v as f32), inputs, singles)?,
            DType::F64 => in_a_loop::<F, f64, K, N, M>(numbers, inputs, doubles)?,
            _ => None,
        };
        if let Some(done) = done {
            return Ok(done);
        }
    }
    exactly(Elementwise::of::<F, K, N, M>().by_tensors(&numbers, &inputs)?)
}

fn exactly<const M: usize>(all: Vec<Tensor>) -> Result<[Tensor; M]> {
    let wrong = |all: Vec<Tensor>| format!("a formula of {M} results gave {}", all.len());
    all.try_into().map_err(|all| candle_core::Error::Msg(wrong(all)))
}

fn singles(s: &CpuStorage) -> Option<&Vec<f32>> {
    if let CpuStorage::F32(v) = s { Some(v) } else { None }
}

fn doubles(s: &CpuStorage) -> Option<&Vec<f64>> {
    if let CpuStorage::F64(v) = s { Some(v) } else { None }
}

/// Entries of a block.
const BLOCK: usize = 64;

fn in_a_loop<
    F: Formula<K, N, M>,
    T: WithDType + Default + Entry,
    const K: usize,
    const N: usize,
    const M: usize,
>(
    numbers: [T; K],
    inputs: [&Tensor; N],
    values: impl Fn(&CpuStorage) -> Option<&Vec<T>>,
) -> Result<Option<[Tensor; M]>> {
    let n = inputs[0].elem_count();
    let guards = inputs.map(|t| t.storage_and_layout());
    let mut slices: [&[T]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&guards) {
        let Storage::Cpu(cpu) = &**storage else { return Ok(None) };
        let Some(all) = values(cpu) else { return Ok(None) };
        *slice = &all[layout.start_offset()..layout.start_offset() + n];
    }
    let mut out: [Vec<T>; M] = std::array::from_fn(|_| Vec::with_capacity(n));
    // Blocks of known length that nothing else points at become vector operations, with the same roundings.
    let blocks = slices.map(|all| all.as_chunks::<BLOCK>());
    for b in 0..n / BLOCK {
        let inputs: [&[T; BLOCK]; N] = std::array::from_fn(|k| &blocks[k].0[b]);
        let mut results = [[T::default(); BLOCK]; M];
        for i in 0..BLOCK {
            let new = F::entry(numbers, std::array::from_fn(|k| inputs[k][i]));
            for (all, v) in results.iter_mut().zip(new) {
                all[i] = v;
            }
        }
        for (all, block) in out.iter_mut().zip(&results) {
            all.extend_from_slice(block);
        }
    }
    for i in 0..n % BLOCK {
        let new = F::entry(numbers, std::array::from_fn(|k| blocks[k].1[i]));
        for (all, v) in out.iter_mut().zip(new) {
            all.push(v);
        }
    }
    let shape = inputs[0].shape();
    let mut tensors = Vec::with_capacity(M);
    for v in out {
        tensors.push(Tensor::from_vec(v, shape, &Device::Cpu)?);
    }
    Ok(tensors.try_into().ok())
}
