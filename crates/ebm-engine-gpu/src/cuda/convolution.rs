//! Convolutions and their two adjoints through cuDNN, each planned once for its shape.

mod plan;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::thread::LocalKey;

use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::cudnn::{CudnnDataType, result, sys};
use candle_core::cuda::cudarc::driver::{CudaSlice, DevicePtr, DevicePtrMut, DeviceRepr};
use candle_core::cuda::{CudaDType, DeviceId};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, DType, Error, Result, Storage, Tensor, WithDType};
use ebm_core::operators::{Convolution, ConvolutionOps, Order, Pass};

use super::branches::current;
use super::workspace::lasting;
use plan::Plan;

/// All that a plan depends on. Sizes are `(B, C, H, W)` and `(O, C, k, k)` in either order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    device: DeviceId,
    what: Convolution,
    x: [usize; 4],
    w: [usize; 4],
    y: [usize; 4],
    /// Whether f32 products may be rounded to TF32.
    reduced: bool,
}

impl Shape {
    fn of(device: &CudaDevice, what: Convolution, a: &Tensor, b: &Tensor, reduced: bool) -> Result<Shape> {
        let sizes = |t: &Tensor| -> Result<[usize; 4]> {
            let (n, p, q, r) = t.dims4()?;
            Ok(match what.order {
                Order::ChannelsFirst => [n, p, q, r],
                Order::ChannelsLast => [n, r, p, q],
            })
        };
        let (a, b) = (sizes(a)?, sizes(b)?);
        let unfit =
            what.stride == 0 || what.pass == Pass::Forward && (2..4).any(|d| a[d] + 2 * what.padding < b[d]);
        if unfit {
            candle_core::bail!(
                "convolution: found a kernel {b:?} with stride {} and padding {} on {a:?}, wanted one that fits",
                what.stride,
                what.padding
            )
        }
        let out = |n: usize, k: usize| (n + 2 * what.padding - k) / what.stride + 1;
        let (x, w, y) = match what.pass {
            Pass::Forward => (a, b, [a[0], b[0], out(a[2], b[2]), out(a[3], b[3])]),
            Pass::Input { size } => ([a[0], b[1], size.0, size.1], b, a),
            Pass::Weight { kernel } => (a, [b[1], a[1], kernel, kernel], b),
        };
        Ok(Shape { device: device.id(), what, x, w, y, reduced })
    }

    /// The dimensions of the result as a tensor.
    fn result(&self) -> [usize; 4] {
        let [n, c, h, w] = match self.what.pass {
            Pass::Forward => self.y,
            Pass::Input { .. } => self.x,
            Pass::Weight { .. } => self.w,
        };
        match self.what.order {
            Order::ChannelsFirst => [n, c, h, w],
            Order::ChannelsLast => [n, h, w, c],
        }
    }
}

/// A device, and the part of a step that is in no order with the others.
type Place = (DeviceId, usize);

/// Plans and the handle of one thread: the library's handles may not move between threads, and none is ever destroyed. A thread that ends
/// after the device failed could not do it, and the program would abort where it is to say what failed.
#[derive(Default)]
struct Held {
    handles: HashMap<Place, sys::cudnnHandle_t>,
    /// `None` for what the library does not take.
    plans: HashMap<(Shape, DType, usize), Option<Rc<Plan>>>,
    /// Address and bytes of the memory that plans share, for their work is in order. What was too small is not given back: recordings go on to
    /// use it. Each is twice as large as the one before or larger, so all together take less than twice the last.
    workspaces: HashMap<Place, (u64, usize)>,
}

/// A number type of images and weights.
trait Number: CudnnDataType + CudaDType + DeviceRepr + WithDType {
    /// In which sums are taken, and the factors of results are given.
    type Sum: CudnnDataType + Copy;
    /// Whether products are exact in the type of the sums.
    const EXACT_PRODUCTS: bool;
    const SCALE_ONE: Self::Sum;
    const SCALE_ZERO: Self::Sum;
}

impl Number for f32 {
    type Sum = f32;
    const EXACT_PRODUCTS: bool = false;
    const SCALE_ONE: f32 = 1.0;
    const SCALE_ZERO: f32 = 0.0;
}

impl Number for f64 {
    type Sum = f64;
    const EXACT_PRODUCTS: bool = false;
    const SCALE_ONE: f64 = 1.0;
    const SCALE_ZERO: f64 = 0.0;
}

impl Number for half::bf16 {
    type Sum = f32;
    const EXACT_PRODUCTS: bool = true;
    const SCALE_ONE: f32 = 1.0;
    const SCALE_ZERO: f32 = 0.0;
}

fn held() -> &'static LocalKey<RefCell<Held>> {
    thread_local!(static HELD: RefCell<Held> = RefCell::default());
    &HELD
}

impl Held {
    fn handle(&mut self, device: &CudaDevice) -> Result<sys::cudnnHandle_t> {
        let place = (device.id(), current());
        if let Some(h) = self.handles.get(&place) {
            return Ok(*h);
        }
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().map_err(Error::wrap)?;
        let handle = result::create_handle().map_err(Error::wrap)?;
        // SAFETY: the handle was just made; the device keeps its stream.
        unsafe { result::set_stream(handle, stream.cu_stream().cast()) }.map_err(Error::wrap)?;
        self.handles.insert(place, handle);
        Ok(handle)
    }

    fn plan<T: Number>(&mut self, device: &CudaDevice, s: &Shape) -> Result<Option<Rc<Plan>>> {
        let key = (*s, T::DTYPE, current());
        if let Some(p) = self.plans.get(&key) {
            return Ok(p.clone());
        }
        let plan = Plan::new::<T>(self.handle(device)?, s)?.map(Rc::new);
        self.plans.insert(key, plan.clone());
        Ok(plan)
    }

    /// Address and length of so many bytes or more.
    fn workspace(&mut self, device: &CudaDevice, bytes: usize) -> Result<(u64, usize)> {
        let place = (device.id(), current());
        if let Some(room) = self.workspaces.get(&place).filter(|(_, n)| *n >= bytes) {
            return Ok(*room);
        }
        let bytes = bytes.max(1).next_power_of_two();
        let room = (lasting(device, bytes)?, bytes);
        self.workspaces.insert(place, room);
        Ok(room)
    }

    /// Runs the pass of `s` on its two operands; `None` if the library does not take it.
    fn run<T: Number>(
        &mut self,
        device: &CudaDevice,
        s: &Shape,
        a: &Tensor,
        b: &Tensor,
    ) -> Result<Option<CudaSlice<T>>> {
        let Some(plan) = self.plan::<T>(device, s)? else { return Ok(None) };
        let stream = device.cuda_stream();
        let room = self.workspace(device, plan.workspace)?;
        // SAFETY: the factor of what was there is 0, so the library writes every entry.
        let mut out = unsafe { device.alloc::<T>(s.result().iter().product())? };
        let ((a, al), (b, bl)) = (a.storage_and_layout(), b.storage_and_layout());
        let (Storage::Cuda(a), Storage::Cuda(b)) = (&*a, &*b) else {
            candle_core::bail!("convolution: operands on other devices")
        };
        if [a, b].into_iter().any(|t| t.device().id() != device.id()) {
            candle_core::bail!("convolution: operands on another GPU")
        }
        // The device has one stream and tracks no events, so there is nothing to wait for.
        let address = |on: &CudaSlice<T>, start: usize| {
            on.device_ptr(&stream).0 + (start * std::mem::size_of::<T>()) as u64
        };
        let (a, b) = (
            address(a.as_cuda_slice::<T>()?, al.start_offset()),
            address(b.as_cuda_slice::<T>()?, bl.start_offset()),
        );
        stream.context().bind_to_thread().map_err(Error::wrap)?;
        // SAFETY: the plan is that of the shape, and all tensors lie in one piece.
        unsafe { plan.launch::<T>(a, b, out.device_ptr_mut(&stream).0, room)? };
        Ok(Some(out))
    }
}

/// The library's convolutions on a device.
pub struct CudnnOps(pub CudaDevice);

impl ConvolutionOps for CudnnOps {
    /// `None` for types and shapes that the library does not take.
    fn convolution(&self, what: Convolution, a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
        if a.dtype() != b.dtype() {
            return Ok(None);
        }
        let (a, b) = (a.contiguous()?, b.contiguous()?);
        // As candle was told for products of matrices.
        let reduced = candle_core::cuda::gemm_reduced_precision_f32();
        match a.dtype() {
            DType::F32 => self.of::<f32>(what, &a, &b, reduced),
            DType::F64 => self.of::<f64>(what, &a, &b, false),
            DType::BF16 => match self.of::<half::bf16>(what, &a, &b, false)? {
                Some(y) => Ok(Some(y)),
                // The same numbers: factors of bf16 are exact in f32, and in TF32.
                None => {
                    let [a, b] = [a, b].map(|t| t.to_dtype(DType::F32));
                    let y = self.of::<f32>(what, &a?, &b?, true)?;
                    y.map(|y| y.to_dtype(DType::BF16)).transpose()
                }
            },
            _ => Ok(None),
        }
    }
}

impl CudnnOps {
    fn of<T: Number>(
        &self,
        what: Convolution,
        a: &Tensor,
        b: &Tensor,
        reduced: bool,
    ) -> Result<Option<Tensor>> {
        let device = &self.0;
        let s = Shape::of(device, what, a, b, reduced)?;
        let Some(out) = held().with(|held| held.borrow_mut().run::<T>(device, &s, a, b))? else {
            return Ok(None);
        };
        let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(out, device.clone()));
        Ok(Some(Tensor::from_storage(storage, s.result().to_vec(), BackpropOp::none(), false)))
    }
}
