//! Ties a result computed outside the graph to its operands by a backward rule of our own.
//!
//! candle's backward pass of a convolution or matrix product always computes the gradient of both
//! operands, also where one is detached. Samplers call `slope` with frozen weights, where half of
//! that work is thrown away; the rules here compute only what is tracked.

use std::sync::Mutex;

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Error, InplaceOp1, Layout, MetalStorage,
    Result, Shape, Tensor,
};

/// Maps the gradient of the result to the gradient of one operand.
pub type Back = Box<dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync>;

enum Held {
    Cpu(CpuStorage),
    Cuda(CudaStorage),
    Metal(MetalStorage),
}

/// Moves the storage out of a tensor, so that tying copies nothing.
struct Take(Mutex<Option<Held>>);

impl Take {
    fn swap<S: BackendStorage>(&self, storage: &mut S, wrap: fn(S) -> Held) -> Result<()>
    where
        S::Device: BackendDevice<Storage = S>,
    {
        // SAFETY: a place that nobody reads, left in a tensor that is about to go.
        let empty = unsafe { storage.device().alloc_uninit(&Shape::from(1), storage.dtype())? };
        let full = std::mem::replace(storage, empty);
        *self.0.lock().map_err(|_| Error::Msg("tie: lock poisoned".into()))? = Some(wrap(full));
        Ok(())
    }
}

impl InplaceOp1 for Take {
    fn name(&self) -> &'static str {
        "tie-take"
    }
    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        self.swap(storage, Held::Cpu)
    }
    fn cuda_fwd(&self, storage: &mut CudaStorage, _: &Layout) -> Result<()> {
        self.swap(storage, Held::Cuda)
    }
    fn metal_fwd(&self, storage: &mut MetalStorage, _: &Layout) -> Result<()> {
        self.swap(storage, Held::Metal)
    }
}

struct Tie {
    name: &'static str,
    held: Mutex<Option<Held>>,
    shape: Shape,
    back_first: Option<Back>,
    back_second: Option<Back>,
}

impl Tie {
    fn give(&self) -> Result<Held> {
        let mut held = self.held.lock().map_err(|_| Error::Msg("tie: lock poisoned".into()))?;
        held.take().ok_or_else(|| Error::Msg(format!("{}: result taken twice", self.name)))
    }

    fn cpu(&self) -> Result<(CpuStorage, Shape)> {
        match self.give()? {
            Held::Cpu(s) => Ok((s, self.shape.clone())),
            _ => Err(Error::Msg(format!("{}: operands on different devices", self.name))),
        }
    }

    fn cuda(&self) -> Result<(CudaStorage, Shape)> {
        match self.give()? {
            Held::Cuda(s) => Ok((s, self.shape.clone())),
            _ => Err(Error::Msg(format!("{}: operands on different devices", self.name))),
        }
    }

    fn metal(&self) -> Result<(MetalStorage, Shape)> {
        match self.give()? {
            Held::Metal(s) => Ok((s, self.shape.clone())),
            _ => Err(Error::Msg(format!("{}: operands on different devices", self.name))),
        }
    }
}

impl CustomOp1 for Tie {
    fn name(&self) -> &'static str {
        self.name
    }
    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.cpu()
    }
    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.cuda()
    }
    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        self.metal()
    }
    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.back_first.as_ref().map(|f| f(grad)).transpose()
    }
}

impl CustomOp2 for Tie {
    fn name(&self) -> &'static str {
        self.name
    }
    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.cpu()
    }
    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.cuda()
    }
    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.metal()
    }
    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let first = self.back_first.as_ref().map(|f| f(grad)).transpose()?;
        let second = self.back_second.as_ref().map(|f| f(grad)).transpose()?;
        Ok((first, second))
    }
}

/// `y`, which was computed from detached `x` and `w`, as a node of the graph. A rule is only made
/// (and its captured tensors only kept) for an operand that the graph tracks.
pub fn tie2(
    name: &'static str,
    x: &Tensor,
    w: &Tensor,
    y: Tensor,
    back_x: impl FnOnce() -> Back,
    back_w: impl FnOnce() -> Back,
) -> Result<Tensor> {
    let (x_tracked, w_tracked) = (x.track_op(), w.track_op());
    if !x_tracked && !w_tracked {
        return Ok(y);
    }
    let tie = Tie {
        name,
        shape: y.shape().clone(),
        held: Mutex::new(take(y)?),
        back_first: x_tracked.then(back_x),
        back_second: w_tracked.then(back_w),
    };
    match (x_tracked, w_tracked) {
        (true, true) => x.apply_op2(w, tie),
        (false, true) => w.apply_op1(Tie { back_first: tie.back_second, back_second: None, ..tie }),
        _ => x.apply_op1(tie),
    }
}

/// `y`, which was computed from a detached `x`, as a node of the graph.
pub fn tie1(name: &'static str, x: &Tensor, y: Tensor, back: impl FnOnce() -> Back) -> Result<Tensor> {
    if !x.track_op() {
        return Ok(y);
    }
    let tie = Tie {
        name,
        shape: y.shape().clone(),
        held: Mutex::new(take(y)?),
        back_first: Some(back()),
        back_second: None,
    };
    x.apply_op1(tie)
}

/// Maps the gradient of the result to those of three operands, the last if it is tracked.
pub type Back3 = Box<dyn Fn(&Tensor) -> Result<(Tensor, Tensor, Option<Tensor>)> + Send + Sync>;

struct Tie3 {
    tie: Tie,
    tracked: [bool; 3],
    back: Back3,
}

impl CustomOp3 for Tie3 {
    fn name(&self) -> &'static str {
        self.tie.name
    }
    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.tie.cpu()
    }
    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.tie.cuda()
    }
    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.tie.metal()
    }
    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (first, second, third) = (self.back)(grad)?;
        let [a, b, c] = self.tracked;
        Ok((a.then_some(first), b.then_some(second), third.filter(|_| c)))
    }
}

/// `y`, which was computed from detached operands, as a node of the graph.
pub fn tie3(name: &'static str, operands: [&Tensor; 3], y: Tensor, back: Back3) -> Result<Tensor> {
    let tracked = operands.map(Tensor::track_op);
    if tracked == [false; 3] {
        return Ok(y);
    }
    let tie = Tie {
        name,
        shape: y.shape().clone(),
        held: Mutex::new(take(y)?),
        back_first: None,
        back_second: None,
    };
    operands[0].apply_op3(operands[1], operands[2], Tie3 { tie, tracked, back })
}

fn take(y: Tensor) -> Result<Option<Held>> {
    // A fresh copy unless `y` owns its storage whole: results of kernels do.
    let y = if y.is_contiguous() && y.layout().start_offset() == 0 { y } else { y.force_contiguous()? };
    let take = Take(Mutex::new(None));
    y.inplace_op1(&take)?;
    take.0.into_inner().map_err(|_| Error::Msg("tie: lock poisoned".into()))
}
