//! NCCL: sums between GPUs.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::nccl::{Comm, Id, ReduceOp};
use candle_core::{CpuStorage, CudaStorage, Device, Error, InplaceOp1, Layout, MetalStorage, Result, Tensor};
use ebm_core::backend::NoDevice;
use ebm_core::{Collective, agree};

use crate::between::OnDevice;

/// The binding looks for the library by these names, and panics without it.
const NAMES: &[&str] = &["libnccl.so", "libnccl.so.13", "libnccl.so.12"];

/// The communicator, whose drop aborts what is under way.
struct Held {
    comm: Mutex<Comm>,
    device: Device,
}

// SAFETY: the library's communicators may be used by any thread, by one at a time, which the mutex sees to.
unsafe impl Send for Held {}
unsafe impl Sync for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        // Nobody can be told of a failure here, and the communicator is gone in any case.
        _ = self.device.synchronize();
    }
}

/// Adds in place.
struct AllReduce<'a>(&'a Comm);

impl InplaceOp1 for AllReduce<'_> {
    fn name(&self) -> &'static str {
        "nccl-all-reduce"
    }
    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        candle_core::bail!("NCCL adds on GPUs only")
    }
    fn metal_fwd(&self, _: &mut MetalStorage, _: &Layout) -> Result<()> {
        candle_core::bail!("NCCL adds on NVIDIA's GPUs only")
    }
    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
        let Some((from, to)) = layout.contiguous_offsets() else {
            candle_core::bail!("NCCL adds one piece of memory")
        };
        storage.device().cuda_stream().context().bind_to_thread().map_err(Error::wrap)?;
        let mut all = storage.as_cuda_slice_mut::<f32>()?.slice_mut(from..to);
        let done = self.0.all_reduce_in_place(&mut all, &ReduceOp::Sum);
        done.map(|_| ()).map_err(|e| Error::Msg(format!("NCCL: {e:?}")))
    }
}

/// `ranks`, which all call this together, with the sums of f32 tensors between their GPUs.
pub fn between(ranks: Arc<dyn Collective>, device: &Device) -> ebm_core::Result<Arc<dyn Collective>> {
    let fail = |e: String| ebm_core::Error::plugin("NCCL", e);
    let there = super::load(NAMES).is_some();
    let missing = "libnccl.so is not there; set LD_LIBRARY_PATH to where it is (packages that bring only libnccl.so.2 want a link to it)";
    let id = if there && ranks.rank() == 0 { Some(Id::new()) } else { None };
    let id = id.transpose().map_err(|e| fail(format!("{e:?}")));
    let id = agree(&*ranks, if there { id } else { Err(fail(missing.into())) })?;
    // The first rank's bytes find the group; the others send none.
    let own: Vec<u8> = id.iter().flat_map(|id| id.internal().map(|c| c.cast_unsigned())).collect();
    let all = ranks.gather(&own)?;
    let bytes: [u8; 128] =
        all[0].as_slice().try_into().map_err(|_| fail("the first rank has no id".into()))?;
    let open = || -> std::result::Result<Comm, NoDevice> {
        let stream = device.as_cuda_device()?.cuda_stream();
        stream.context().bind_to_thread().map_err(Error::wrap)?;
        let id = Id::uninit(bytes.map(u8::cast_signed));
        Comm::from_rank(stream, ranks.rank(), ranks.size(), id)
            .map_err(|e| NoDevice::NotThere(format!("NCCL: {e:?}")))
    };
    let comm = open().map_err(|e| fail(e.to_string()))?;
    let held = Held { comm: Mutex::new(comm), device: device.clone() };
    let reduce = move |t: &Tensor| {
        let comm = held.comm.lock().unwrap_or_else(PoisonError::into_inner);
        t.inplace_op1(&AllReduce(&comm))?;
        Ok(t.clone())
    };
    Ok(Arc::new(OnDevice { inner: ranks, reduce: Box::new(reduce) }))
}
