//! Convolutions and their two adjoints through cuDNN, each planned once for its shape.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::LocalKey;

use candle_core::cuda::cudarc::cudnn::{
    ConvBackwardData, ConvBackwardFilter, ConvDescriptor, ConvForward, Cudnn, CudnnDataType,
    FilterDescriptor, TensorDescriptor, sys,
};
use candle_core::cuda::cudarc::driver::{CudaSlice, CudaStream, DeviceRepr};
use candle_core::cuda::{CudaDType, DeviceId};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, DType, Error, Result, Storage, Tensor};
use ebm_core::operators::{Convolution, ConvolutionOps, Pass};

/// All that a plan depends on. Images are `(B, C, H, W)`, weights `(O, C, k, k)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    device: DeviceId,
    what: Convolution,
    x: [usize; 4],
    w: [usize; 4],
    y: [usize; 4],
    /// Whether f32 products may be rounded to TF32, as candle was told for matrix products.
    reduced: bool,
}

impl Shape {
    fn of(device: &CudaDevice, what: Convolution, a: &Tensor, b: &Tensor) -> Result<Shape> {
        let (a, b): ([usize; 4], [usize; 4]) = (a.dims4()?.into(), b.dims4()?.into());
        let out = |n: usize, k: usize| (n + 2 * what.padding - k) / what.stride + 1;
        let (x, w, y) = match what.pass {
            Pass::Forward => (a, b, [a[0], b[0], out(a[2], b[2]), out(a[3], b[3])]),
            Pass::Input { size } => ([a[0], b[1], size.0, size.1], b, a),
            Pass::Weight { kernel } => (a, [b[1], a[1], kernel, kernel], b),
        };
        let reduced = candle_core::cuda::gemm_reduced_precision_f32();
        Ok(Shape { device: device.id(), what, x, w, y, reduced })
    }

    /// That of the result.
    fn result(&self) -> [usize; 4] {
        match self.what.pass {
            Pass::Forward => self.y,
            Pass::Input { .. } => self.x,
            Pass::Weight { .. } => self.w,
        }
    }
}

#[derive(Clone, Copy)]
enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    Input(sys::cudnnConvolutionBwdDataAlgo_t),
    Weight(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// In place of an algorithm that adds in the order in which threads come, one that does not: a run can be resumed to the same bytes
/// (cuDNN's documentation, section Reproducibility).
fn repeatable_input(a: sys::cudnnConvolutionBwdDataAlgo_t) -> sys::cudnnConvolutionBwdDataAlgo_t {
    use sys::cudnnConvolutionBwdDataAlgo_t as A;
    if a == A::CUDNN_CONVOLUTION_BWD_DATA_ALGO_0 { A::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1 } else { a }
}

/// The same of weights.
fn repeatable_weight(a: sys::cudnnConvolutionBwdFilterAlgo_t) -> sys::cudnnConvolutionBwdFilterAlgo_t {
    use sys::cudnnConvolutionBwdFilterAlgo_t as A;
    match a {
        A::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0 | A::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3 => {
            A::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1
        }
        a => a,
    }
}

/// Descriptors, the algorithm that the library's heuristics choose of those that add in a fixed order, and its workspace.
struct Plan<T: Number> {
    conv: ConvDescriptor<T::Sum>,
    x: TensorDescriptor<T>,
    w: FilterDescriptor<T>,
    y: TensorDescriptor<T>,
    algorithm: Algorithm,
    workspace: usize,
}

/// Plans and the handle of one thread: the library's handles may not move between threads.
struct Held<T: Number> {
    handles: HashMap<DeviceId, Arc<Cudnn>>,
    plans: HashMap<Shape, Rc<Plan<T>>>,
    /// One for each device, as large as the largest plan wants. All work of a device is in the order of its stream.
    workspaces: HashMap<DeviceId, CudaSlice<u8>>,
}

impl<T: Number> Default for Held<T> {
    fn default() -> Self {
        Held { handles: HashMap::new(), plans: HashMap::new(), workspaces: HashMap::new() }
    }
}

/// A number type of images and weights.
trait Number: CudnnDataType + CudaDType + DeviceRepr + 'static {
    /// In which sums are taken.
    type Sum: CudnnDataType;
    /// Whether products are exact in the type of the sums.
    const EXACT_PRODUCTS: bool;
    const ONE: Self;
    const ZERO: Self;
    fn held() -> &'static LocalKey<RefCell<Held<Self>>>
    where
        Self: Sized;
}

macro_rules! number {
    ($t:ty, $sum:ty, $exact:expr, $one:expr, $zero:expr) => {
        impl Number for $t {
            type Sum = $sum;
            const EXACT_PRODUCTS: bool = $exact;
            const ONE: Self = $one;
            const ZERO: Self = $zero;
            fn held() -> &'static LocalKey<RefCell<Held<Self>>> {
                thread_local!(static HELD: RefCell<Held<$t>> = RefCell::default());
                &HELD
            }
        }
    };
}
number!(f32, f32, false, 1.0, 0.0);
number!(f64, f64, false, 1.0, 0.0);
number!(half::bf16, f32, true, half::bf16::ONE, half::bf16::ZERO);

fn four(d: [usize; 4]) -> Result<[i32; 4]> {
    let mut out = [0; 4];
    for (o, n) in out.iter_mut().zip(d) {
        *o =
            i32::try_from(n).map_err(|_| Error::Msg(format!("convolution of {d:?}: too large for cuDNN")))?;
    }
    Ok(out)
}

impl<T: Number> Plan<T> {
    fn new(handle: &Arc<Cudnn>, s: &Shape) -> Result<Plan<T>> {
        let nchw = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;
        let [p, d, ..] = four([s.what.padding, s.what.stride, 0, 0])?;
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let mut conv = handle.create_conv2d::<T::Sum>([p, p], [d, d], [1, 1], mode).map_err(Error::wrap)?;
        let math = if s.reduced {
            sys::cudnnMathType_t::CUDNN_DEFAULT_MATH
        } else {
            sys::cudnnMathType_t::CUDNN_FMA_MATH
        };
        // Products of bf16 are exact in f32, so its tensor cores lose nothing.
        let math = if T::EXACT_PRODUCTS { sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH } else { math };
        conv.set_math_type(math).map_err(Error::wrap)?;
        let x = handle.create_4d_tensor::<T>(nchw, four(s.x)?).map_err(Error::wrap)?;
        let w = handle.create_4d_filter::<T>(nchw, four(s.w)?).map_err(Error::wrap)?;
        let y = handle.create_4d_tensor::<T>(nchw, four(s.y)?).map_err(Error::wrap)?;
        let (algorithm, workspace) = match s.what.pass {
            Pass::Forward => {
                let op = ConvForward { conv: &conv, x: &x, w: &w, y: &y };
                let a = op.pick_algorithm().map_err(Error::wrap)?;
                (Algorithm::Forward(a), op.get_workspace_size(a).map_err(Error::wrap)?)
            }
            Pass::Input { .. } => {
                let op = ConvBackwardData { conv: &conv, dx: &x, w: &w, dy: &y };
                let a = repeatable_input(op.pick_algorithm().map_err(Error::wrap)?);
                (Algorithm::Input(a), op.get_workspace_size(a).map_err(Error::wrap)?)
            }
            Pass::Weight { .. } => {
                let op = ConvBackwardFilter { conv: &conv, x: &x, dw: &w, dy: &y };
                let a = repeatable_weight(op.pick_algorithm().map_err(Error::wrap)?);
                (Algorithm::Weight(a), op.get_workspace_size(a).map_err(Error::wrap)?)
            }
        };
        Ok(Plan { conv, x, w, y, algorithm, workspace })
    }
}

impl<T: Number> Held<T> {
    fn handle(&mut self, device: DeviceId, stream: Arc<CudaStream>) -> Result<Arc<Cudnn>> {
        if let Some(h) = self.handles.get(&device) {
            return Ok(h.clone());
        }
        let h = Cudnn::new(stream).map_err(Error::wrap)?;
        self.handles.insert(device, h.clone());
        Ok(h)
    }

    /// Runs the pass of `s` on its two operands.
    fn run(&mut self, device: &CudaDevice, s: &Shape, a: &Tensor, b: &Tensor) -> Result<CudaSlice<T>> {
        let plan = match self.plans.get(s) {
            Some(p) => p.clone(),
            None => {
                let handle = self.handle(s.device, device.cuda_stream())?;
                let plan = Rc::new(Plan::new(&handle, s)?);
                self.plans.insert(*s, plan.clone());
                plan
            }
        };
        let wanted = plan.workspace.max(1);
        if self.workspaces.get(&s.device).is_none_or(|w| w.num_bytes() < wanted) {
            // SAFETY: the library writes before it reads.
            let new = unsafe { device.alloc::<u8>(wanted)? };
            self.workspaces.insert(s.device, new);
        }
        let workspace = self.workspaces.get_mut(&s.device);
        // SAFETY: β is 0, so the library writes every entry.
        let mut out = unsafe { device.alloc::<T>(s.result().iter().product())? };
        let ((a, al), (b, bl)) = (a.storage_and_layout(), b.storage_and_layout());
        let (Storage::Cuda(a), Storage::Cuda(b)) = (&*a, &*b) else {
            candle_core::bail!("convolution: operands on other devices")
        };
        let a = a.as_cuda_slice::<T>()?.slice(al.start_offset()..al.start_offset() + al.shape().elem_count());
        let b = b.as_cuda_slice::<T>()?.slice(bl.start_offset()..bl.start_offset() + bl.shape().elem_count());
        let Plan { conv, x, w, y, .. } = &*plan;
        let scale = (T::ONE, T::ZERO);
        // SAFETY: the descriptors are those of the shapes, and all tensors are contiguous.
        unsafe {
            match plan.algorithm {
                Algorithm::Forward(algo) => {
                    ConvForward { conv, x, w, y }.launch(algo, workspace, scale, &a, &b, &mut out)
                }
                Algorithm::Input(algo) => ConvBackwardData { conv, dx: x, w, dy: y }
                    .launch(algo, workspace, scale, &mut out, &b, &a),
                Algorithm::Weight(algo) => ConvBackwardFilter { conv, x, dw: w, dy: y }
                    .launch(algo, workspace, scale, &a, &mut out, &b),
            }
        }
        .map_err(Error::wrap)?;
        Ok(out)
    }
}

/// The library's convolutions on a device.
pub struct CudnnOps(pub CudaDevice);

impl ConvolutionOps for CudnnOps {
    /// `None` for types that the library does not take.
    fn convolution(&self, what: Convolution, a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
        if a.dtype() != b.dtype() {
            return Ok(None);
        }
        let (a, b) = (a.contiguous()?, b.contiguous()?);
        match a.dtype() {
            DType::F32 => of::<f32>(&self.0, what, &a, &b).map(Some),
            DType::F64 => of::<f64>(&self.0, what, &a, &b).map(Some),
            DType::BF16 => of::<half::bf16>(&self.0, what, &a, &b).map(Some),
            _ => Ok(None),
        }
    }
}

fn of<T: Number>(device: &CudaDevice, what: Convolution, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let s = Shape::of(device, what, a, b)?;
    let out = T::held().with(|held| held.borrow_mut().run(device, &s, a, b))?;
    let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(out, device.clone()));
    Ok(Tensor::from_storage(storage, s.result().to_vec(), BackpropOp::none(), false))
}
