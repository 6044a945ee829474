//! The operators out of our own kernels, whatever launches them: `kernels/operators.cu` on a GPU, the same file compiled for the
//! processor in tests.

mod args;
mod attention;
mod elementwise;
mod last;
mod many;
mod norms;
mod planes;
mod pools;
mod rows;
mod search;
mod softmax;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Result, Tensor};
use ebm_core::Chains;
use ebm_core::operators::{Operators, Reels};

use crate::launcher::{Arg, Launcher};
use args::count;

/// All operators that our kernels make, on the device of `launcher`; convolutions are the vendor's.
pub fn operators(launcher: impl Launcher) -> Operators {
    let name = launcher.name().to_string();
    let all = Arc::new(Kernels { launcher, chains: Mutex::new(None), reels: Reels::default() });
    Operators {
        name,
        random: Some(all.clone()),
        rows: Some(all.clone()),
        tapes: Some(all.clone()),
        branches: Some(all.clone()),
        convolutions: None,
        pools: Some(all.clone()),
        norms: Some(all.clone()),
        tangents: Some(all.clone()),
        last: Some(all.clone()),
        softmax: Some(all.clone()),
        search: Some(all.clone()),
        elementwise: Some(all.clone()),
        many: Some(all),
    }
}

/// Operators on the device of a launcher.
struct Kernels<L> {
    launcher: L,
    /// Indices of the chains that were asked for last, on the device: a chain keeps its index for all steps.
    chains: Mutex<Option<(Chains, Tensor)>>,
    reels: Reels,
}

impl<L: Launcher> Kernels<L> {
    fn empty(&self, shape: &[usize], like: &Device) -> Result<Tensor> {
        // SAFETY: every kernel writes all entries of its results, which nobody reads before.
        unsafe { Tensor::empty(shape, DType::F32, like) }
    }

    /// # Safety
    /// As [`Launcher::launch`].
    unsafe fn launch(
        &self,
        kernel: &'static str,
        blocks: usize,
        threads: u32,
        args: &[Arg<'_>],
    ) -> Result<()> {
        if blocks == 0 {
            return Ok(());
        }
        let blocks = count(blocks)
            .ok_or_else(|| candle_core::Error::Msg(format!("{kernel}: {blocks} blocks are too many")))?;
        // SAFETY: passed on.
        unsafe { self.launcher.launch(kernel, blocks, threads, args) }
    }

    fn indices(&self, chains: &Chains, device: &Device) -> Result<Tensor> {
        let mut held = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, t)) = &*held
            && known == chains
        {
            return Ok(t.clone());
        }
        let ids: Vec<i64> = chains.ids().iter().map(|&i| i.cast_signed()).collect();
        let t = Tensor::from_vec(ids, chains.len(), device)?;
        *held = Some((chains.clone(), t.clone()));
        Ok(t)
    }
}

/// The tensor in one piece; the kernels know no strides.
fn whole(t: &Tensor) -> Result<Tensor> {
    t.contiguous()
}
