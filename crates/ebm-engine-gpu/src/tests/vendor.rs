//! The vendor's convolutions alone, all passes, in every type and order, on shapes that they choose their algorithms by: a GPU's only, for
//! nothing else has them. On the processor only what stands in for them is held against the same, so that the comparison itself is tried.

use candle_core::{DType, Device, Tensor};
use ebm_core::backend::Backend;
use ebm_core::operators::{Convolution, ConvolutionOps, Order, Pass};
use ebm_nn::layers;

use super::convolutions::Stand;
use super::{gpu, near, normal};

/// Samples, channels in, channels out, side, kernel, stride, padding.
type Shape = [usize; 7];

/// Small ones of every kind, an image's stem and its way back among them.
const SMALL: [Shape; 6] = [
    [2, 3, 8, 9, 3, 1, 1],
    [2, 1, 4, 8, 5, 1, 2],
    [3, 8, 16, 7, 1, 1, 0],
    [2, 16, 8, 9, 3, 2, 1],
    [2, 6, 10, 8, 4, 2, 1],
    [1, 64, 64, 8, 3, 1, 1],
];

/// Those of the paper's CIFAR-10 network at the batch it is trained with.
const PAPER: [Shape; 6] = [
    [128, 3, 64, 32, 3, 1, 1],
    [128, 64, 64, 32, 3, 1, 1],
    [128, 64, 64, 16, 3, 1, 1],
    [128, 128, 128, 16, 3, 1, 1],
    [128, 256, 256, 8, 3, 1, 1],
    [128, 256, 512, 4, 3, 1, 1],
];

/// Rounded to `dtype`, in `wide`.
fn seen(name: &str, shape: &[usize], dtype: DType, wide: DType) -> Tensor {
    normal(name, shape).to_dtype(dtype).unwrap().to_dtype(wide).unwrap()
}

/// All passes of a shape against candle's in a wider type on the same operands.
fn passes(o: &dyn ConvolutionOps, device: &Device, s: Shape, dtype: DType, order: Order, bound: f64) {
    let [b, c, out, side, k, stride, padding] = s;
    let after = (side + 2 * padding - k) / stride + 1;
    // The paper's shapes in f64 would take the processor minutes; f32 has digits enough for the others.
    let wide = if b > 8 && dtype != DType::F64 { DType::F32 } else { DType::F64 };
    let (x, w, g) = (
        seen("x", &[b, c, side, side], dtype, wide),
        seen("w", &[out, c, k, k], dtype, wide),
        seen("g", &[b, out, after, after], dtype, wide),
    );
    let there = |t: &Tensor| {
        let t = if order == Order::ChannelsLast { t.permute((0, 2, 3, 1)).unwrap() } else { t.clone() };
        t.contiguous().unwrap().to_dtype(dtype).unwrap().to_device(device).unwrap()
    };
    let back = |t: Tensor| {
        let t = t.to_device(&Device::Cpu).unwrap().to_dtype(wide).unwrap();
        if order == Order::ChannelsLast { t.permute((0, 3, 1, 2)).unwrap() } else { t }
    };
    let passes = [
        (Pass::Forward, &x, &w, layers::conv2d(&x, &w, None, stride, padding).unwrap()),
        (
            Pass::Input { size: (side, side) },
            &g,
            &w,
            layers::input_gradient(&g, &w, (side, side), stride, padding).unwrap(),
        ),
        (Pass::Weight { kernel: k }, &x, &g, layers::weight_gradient(&x, &g, k, stride, padding).unwrap()),
    ];
    for (pass, first, second, want) in passes {
        let what = Convolution { pass, order, stride, padding };
        let text = format!("{pass:?} of {s:?}, {dtype:?}, {order:?}");
        let got = o.convolution(what, &there(first), &there(second)).unwrap();
        let got = back(got.unwrap_or_else(|| panic!("{text}: not covered")));
        assert_eq!(got.dims(), want.dims(), "{text}");
        // As a share of the largest.
        let most = want.abs().unwrap().max_all().unwrap().to_dtype(DType::F64).unwrap();
        let most = most.to_scalar::<f64>().unwrap();
        let share = |t: &Tensor| t.affine(1.0 / most, 0.0).unwrap();
        near(&share(&got), &share(&want), bound, &text);
    }
}

/// Types, whether products are rounded to TF32, and shares of the largest number that results may be off by: rounding of sums of some
/// thousand products, ten times that for Winograd's form in f32; of factors to 11 bits; of bf16 results to 8.
const TYPES: [(DType, bool, f64); 4] = [
    (DType::F64, false, 1e-12),
    (DType::F32, false, 1e-4),
    (DType::F32, true, 3e-3),
    (DType::BF16, false, 8e-3),
];

#[test]
fn convolutions_alone_on_a_gpu() {
    let Some((_alone, device)) = gpu() else { return };
    let Some(o) = ebm_core::operators::operators(&device).and_then(|o| o.convolutions.clone()) else {
        println!("skipped: this program was built without the feature `cudnn`");
        return;
    };
    for (dtype, reduced, bound) in TYPES {
        crate::Cuda.round_products(reduced);
        for order in [Order::ChannelsFirst, Order::ChannelsLast] {
            for s in SMALL {
                passes(o.as_ref(), &device, s, dtype, order, bound);
            }
            // In f64 nothing of the paper's is trained.
            for s in PAPER.into_iter().filter(|_| dtype != DType::F64) {
                passes(o.as_ref(), &device, s, dtype, order, bound);
            }
        }
    }
    crate::Cuda.round_products(false);
}

#[test]
fn the_stand_in_of_the_processor_is_a_convolution() {
    for (dtype, bound) in [(DType::F32, 1e-5), (DType::BF16, 8e-3)] {
        for s in SMALL {
            passes(&Stand, &Device::Cpu, s, dtype, Order::ChannelsLast, bound);
        }
    }
}
