//! The logistic function as a node of candle's graph, which has none.

use candle_core::backend::BackendStorage;
use candle_core::cpu_backend::unary_map;
use candle_core::op::{Exp, Neg, Recip};
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, MetalStorage, Result, Shape, Tensor};

use super::tails::rest_value;

/// `1/(1 + exp(−x))`. Far below zero exp overflows and the result is 0, as it should be; the gradient `y(1 − y)` is 0 there too and not
/// ∞/∞, which tensor operations would give.
pub(super) fn sigmoid(x: &Tensor) -> Result<Tensor> {
    x.apply_op1(Sigmoid)
}

struct Sigmoid;

/// By the operations that every device has.
fn in_steps<S: BackendStorage>(x: &S, layout: &Layout) -> Result<(S, Shape)> {
    let shape = layout.shape().clone();
    let whole = Layout::contiguous(&shape);
    let e = x.unary_impl::<Neg>(layout)?.unary_impl::<Exp>(&whole)?;
    Ok((e.affine(&whole, 1.0, 1.0)?.unary_impl::<Recip>(&whole)?, shape))
}

impl CustomOp1 for Sigmoid {
    fn name(&self) -> &'static str {
        "sigmoid"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = match x {
            CpuStorage::F32(x) => CpuStorage::F32(unary_map(x, layout, |v: f32| ((-v).exp() + 1.0).recip())),
            CpuStorage::F64(x) => CpuStorage::F64(unary_map(x, layout, |v: f64| ((-v).exp() + 1.0).recip())),
            other => return in_steps(other, layout),
        };
        Ok((y, layout.shape().clone()))
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        in_steps(x, layout)
    }

    fn metal_fwd(&self, x: &MetalStorage, layout: &Layout) -> Result<(MetalStorage, Shape)> {
        in_steps(x, layout)
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(g.mul(&rest_value(x)?.mul(y)?)?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{DType, Device, Var};

    use super::*;

    fn line() -> Tensor {
        let x: Vec<f32> = (-200..=200).map(|i| i as f32 * 0.7).collect();
        Tensor::from_vec(x, 401, &Device::Cpu).unwrap()
    }

    #[test]
    fn values_and_gradients_are_those_of_the_formula_and_finite_everywhere() {
        for dtype in [DType::F32, DType::F64] {
            let x = Var::from_tensor(&line().to_dtype(dtype).unwrap()).unwrap();
            let y = sigmoid(&x).unwrap();
            let g = y.sum_all().unwrap().backward().unwrap().remove(&x).unwrap();
            let read = |t: &Tensor| t.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
            for ((x, y), g) in read(&x).into_iter().zip(read(&y)).zip(read(&g)) {
                let want = 1.0 / (1.0 + (-x).exp());
                // One rounding in exp, one in the sum, one in the quotient; 1 − y rounds to one half ulp of 1.
                let ulp = if dtype == DType::F32 { 2f64.powi(-23) } else { 2f64.powi(-52) };
                assert!((y - want).abs() <= 4.0 * ulp * want.max(1e-30), "{x}: {y}, {want}");
                assert!((g - want * (1.0 - want)).abs() <= 4.0 * ulp, "{x}: {g}");
            }
        }
    }

    #[test]
    fn one_pass_and_device_operations_have_equal_bits_on_strided_values_too() {
        let x = Tensor::stack(&[line(), line().affine(0.3, 0.1).unwrap()], 1).unwrap();
        for x in [x.clone(), x.t().unwrap()] {
            let steps = (x.neg().unwrap().exp().unwrap() + 1.0).unwrap().recip().unwrap();
            let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(flat(&sigmoid(&x).unwrap()), flat(&steps));
            let (storage, layout) = x.storage_and_layout();
            let candle_core::Storage::Cpu(cpu) = &*storage else { panic!("on the processor") };
            let (y, _) = in_steps(cpu, layout).unwrap();
            assert_eq!(y.as_slice::<f32>().unwrap(), flat(&steps));
        }
    }
}
