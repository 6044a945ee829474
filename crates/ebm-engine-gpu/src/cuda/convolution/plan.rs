//! The descriptors of a convolution and the algorithm that runs it.
//!
//! Descriptors live as long as the program: each shape has them once, and a library that failed could not give them back.

use std::ffi::{c_int, c_void};
use std::fmt::Debug;

use candle_core::cuda::cudarc::cudnn::result::{self, CudnnError};
use candle_core::cuda::cudarc::cudnn::{CudnnDataType, sys};
use candle_core::{Error, Result};
use ebm_core::operators::{Order, Pass};

use super::{Number, Shape};
use crate::choice::{Answer, Math, first_fit};

/// How many algorithms the library is asked for: more than it has for any pass.
const ASKED: usize = 16;

#[derive(Clone, Copy, Debug)]
enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    Input(sys::cudnnConvolutionBwdDataAlgo_t),
    Weight(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// What runs the convolution of one shape.
pub(super) struct Plan {
    handle: sys::cudnnHandle_t,
    conv: sys::cudnnConvolutionDescriptor_t,
    x: sys::cudnnTensorDescriptor_t,
    w: sys::cudnnFilterDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    algorithm: Algorithm,
    /// Bytes.
    pub workspace: usize,
}

fn wrap(e: CudnnError) -> Error {
    Error::Msg(format!("cuDNN: {e:?}"))
}

fn four(d: [usize; 4]) -> Result<[c_int; 4]> {
    let mut out = [0; 4];
    for (o, n) in out.iter_mut().zip(d) {
        *o = c_int::try_from(n)
            .map_err(|_| Error::Msg(format!("convolution of {d:?}: too large for cuDNN")))?;
    }
    Ok(out)
}

/// One answer of the library, with the algorithm and the arithmetic it stands for.
struct Entry {
    algorithm: Algorithm,
    math: sys::cudnnMathType_t,
    answer: Answer,
}

/// The entries of a pass, quickest first.
macro_rules! entries {
    ($ask:path, $perf:ty, $kind:expr, $handle:expr, $($descriptor:expr),*) => {{
        // SAFETY: plain numbers and enumerations, all of which have 0, which the library writes over.
        let mut found: [$perf; ASKED] = unsafe { std::mem::zeroed() };
        let mut count: c_int = 0;
        // SAFETY: the descriptors are those of the shape, and there is room for as many answers as are asked for.
        unsafe { $ask($handle, $($descriptor,)* ASKED as c_int, &raw mut count, found.as_mut_ptr()) }.map_err(wrap)?;
        let count = usize::try_from(count).unwrap_or(0).min(ASKED);
        found[..count].iter().map(|f| entry($kind(f.algo), f.status, f.determinism, f.mathType, f.memory)).collect::<Vec<_>>()
    }};
}

fn entry(
    algorithm: Algorithm,
    status: sys::cudnnStatus_t,
    determinism: sys::cudnnDeterminism_t,
    math: sys::cudnnMathType_t,
    bytes: usize,
) -> Entry {
    use sys::cudnnMathType_t as M;
    let answer = Answer {
        supported: status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS,
        deterministic: determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC,
        converts: math == M::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION,
        rounds: math == M::CUDNN_TENSOR_OP_MATH,
        bytes,
    };
    Entry { algorithm, math, answer }
}

impl Plan {
    /// The plan of a shape; `None` where no algorithm takes it as it is wanted.
    ///
    /// # Errors
    /// If the library fails.
    pub fn new<T: Number>(handle: sys::cudnnHandle_t, s: &Shape) -> Result<Option<Plan>> {
        let format = match s.what.order {
            Order::ChannelsFirst => sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW,
            Order::ChannelsLast => sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC,
        };
        let kind = <T as CudnnDataType>::DATA_TYPE;
        let tensor = |dims: [usize; 4]| {
            let t = result::create_tensor_descriptor().map_err(wrap)?;
            // SAFETY: it was just made.
            unsafe { result::set_tensor4d_descriptor(t, format, kind, four(dims)?) }.map_err(wrap)?;
            Ok::<_, Error>(t)
        };
        let (x, y) = (tensor(s.x)?, tensor(s.y)?);
        let (w, conv) = (
            result::create_filter_descriptor().map_err(wrap)?,
            result::create_convolution_descriptor().map_err(wrap)?,
        );
        let [p, d, ..] = four([s.what.padding, s.what.stride, 0, 0])?;
        let (mode, sums) =
            (sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION, <T::Sum as CudnnDataType>::DATA_TYPE);
        // Factors of f32 that may not be rounded; all others lose nothing on tensor cores.
        let math = if T::EXACT_PRODUCTS || s.reduced { Math::Rounded } else { Math::Exact };
        use sys::cudnnMathType_t as M;
        let asked = match math {
            Math::Exact => M::CUDNN_FMA_MATH,
            Math::Rounded if T::EXACT_PRODUCTS => M::CUDNN_TENSOR_OP_MATH,
            Math::Rounded => M::CUDNN_DEFAULT_MATH,
        };
        // SAFETY: both were just made.
        unsafe {
            result::set_filter4d_descriptor(w, kind, format, four(s.w)?).map_err(wrap)?;
            result::set_convolution2d_descriptor(conv, p, p, d, d, 1, 1, mode, sums).map_err(wrap)?;
            result::set_convolution_math_type(conv, asked).map_err(wrap)?;
        }
        let mut entries = match s.what.pass {
            Pass::Forward => entries!(
                result::get_convolution_forward_algorithm,
                sys::cudnnConvolutionFwdAlgoPerf_t,
                Algorithm::Forward,
                handle,
                x,
                w,
                conv,
                y
            ),
            Pass::Input { .. } => entries!(
                result::get_convolution_backward_data_algorithm,
                sys::cudnnConvolutionBwdDataAlgoPerf_t,
                Algorithm::Input,
                handle,
                w,
                y,
                conv,
                x
            ),
            Pass::Weight { .. } => entries!(
                result::get_convolution_backward_filter_algorithm,
                sys::cudnnConvolutionBwdFilterAlgoPerf_t,
                Algorithm::Weight,
                handle,
                x,
                y,
                conv,
                w
            ),
        };
        let answers: Vec<Answer> = entries.iter().map(|e| e.answer).collect();
        let Some(taken) = first_fit(&answers, math) else {
            tracing::debug!("no algorithm of cuDNN for {s:?} in {kind:?}: {answers:?}");
            return Ok(None);
        };
        let taken = entries.swap_remove(taken);
        // What the answer holds for is its own arithmetic. Where nothing may be rounded its default would be.
        let math = if math == Math::Exact { M::CUDNN_FMA_MATH } else { taken.math };
        // SAFETY: as above.
        unsafe { result::set_convolution_math_type(conv, math) }.map_err(wrap)?;
        let mut plan = Plan { handle, conv, x, w, y, algorithm: taken.algorithm, workspace: 0 };
        plan.workspace = plan.room().map_err(wrap)?;
        let mib = plan.workspace >> 20;
        tracing::debug!("cuDNN: {s:?} in {kind:?} by {:?}, {math:?}, {mib} MiB", plan.algorithm);
        Ok(Some(plan))
    }

    /// Bytes of the workspace, asked for again: the arithmetic may have changed it.
    fn room(&self) -> std::result::Result<usize, CudnnError> {
        let Plan { handle, conv, x, w, y, .. } = *self;
        // SAFETY: all descriptors live as long as the program.
        unsafe {
            match self.algorithm {
                Algorithm::Forward(a) => {
                    result::get_convolution_forward_workspace_size(handle, x, w, conv, y, a)
                }
                Algorithm::Input(a) => {
                    result::get_convolution_backward_data_workspace_size(handle, w, y, conv, x, a)
                }
                Algorithm::Weight(a) => {
                    result::get_convolution_backward_filter_workspace_size(handle, x, y, conv, w, a)
                }
            }
        }
    }

    /// Starts the pass on operands at `a` and `b` with the result at `out`.
    ///
    /// # Safety
    /// All must be addresses on the handle's device of as many numbers of `T` as the shape has, and `workspace` of as many bytes as the plan
    /// wants.
    ///
    /// # Errors
    /// If the library refuses.
    pub unsafe fn launch<T: Number>(&self, a: u64, b: u64, out: u64, workspace: (u64, usize)) -> Result<()> {
        let Plan { handle, conv, x, w, y, .. } = *self;
        let at = |address: u64| address as *mut c_void;
        let (one, zero) = (T::SCALE_ONE, T::SCALE_ZERO);
        let (one, zero) = ((&raw const one).cast::<c_void>(), (&raw const zero).cast::<c_void>());
        let (room, bytes) = (at(workspace.0), workspace.1);
        let (a, b, out) = (at(a), at(b), at(out));
        // SAFETY: passed on to the caller; with a factor of 0 nothing of the result is read.
        unsafe {
            match self.algorithm {
                Algorithm::Forward(algo) => result::convolution_forward(
                    handle, one, x, a, w, b, conv, algo, room, bytes, zero, y, out,
                ),
                Algorithm::Input(algo) => result::convolution_backward_data(
                    handle, one, w, b, y, a, conv, algo, room, bytes, zero, x, out,
                ),
                Algorithm::Weight(algo) => result::convolution_backward_filter(
                    handle, one, x, a, y, b, conv, algo, room, bytes, zero, w, out,
                ),
            }
        }
        .map_err(wrap)
    }
}
