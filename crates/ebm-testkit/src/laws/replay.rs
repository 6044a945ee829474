//! Everything that is asked of a buffer of chains.

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Key, ReplayBuffer, Result};

use crate::{Failure, Verdict, check_replay};

/// A level of bytes and half of one: what a buffer that keeps bytes may be off.
const LEVEL: f64 = 2.0 / 256.0;

/// Checks the buffers that `build` makes for samples of `shape`: all of [`check_replay`], and that samples of another shape are
/// refused, without a change. Values may be off by a level of bytes; call [`check_replay`] with 0 for a buffer that keeps floats.
///
/// # Errors
/// Names the first law that fails.
pub fn replay(build: &dyn Fn() -> Result<Box<dyn ReplayBuffer>>, shape: &[usize]) -> Verdict {
    check_replay(build, shape, LEVEL)?;
    let mut buffer = build()?;
    let name = buffer.name();
    let zeros = |dims: &[usize]| -> Result<Tensor> { Ok(Tensor::zeros(dims, DType::F32, &Device::Cpu)?) };
    let mut dims = vec![3];
    dims.extend_from_slice(shape);
    buffer.put(None, &zeros(&dims)?, Key::root(1))?;
    let before = buffer.len();
    let mut wrong = dims.clone();
    wrong.push(2);
    let refused = buffer.put(None, &zeros(&wrong)?, Key::root(2)).is_err();
    Failure::unless(refused && buffer.len() == before, || {
        format!(
            "{name}: samples {wrong:?} went into a buffer of samples {shape:?}; hold shapes against those that are there"
        )
    })
}
