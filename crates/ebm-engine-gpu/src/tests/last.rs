//! Operations on images whose channels come last, in f32 and bfloat16, against tensor operations in f64.
//!
//! In bfloat16 the operands are rounded first, so that what is compared is the kernel: its results are off by their own rounding, at
//! most 2⁻⁸ of a number, and by that of what it keeps for the way back.

use candle_core::{DType, Device, Tensor, Var};
use ebm_core::Diff;
use ebm_core::operators::{NormAct, Operators, Parts};
use ebm_core::plan::{Activation, Pool};
use ebm_nn::layers;

use super::host::Host;
use super::{FUNCTIONS, gpu, near, normal, on};
use crate::operators;

on_devices!(another_order_and_back, |o, device| {
    let o = o.last.as_ref().unwrap();
    for (c, h, w) in [(3, 5, 4), (8, 2, 3), (1, 1, 1)] {
        let x = on(&normal("x", &[2, c, h, w]), device);
        for dtype in TYPES {
            let there = o.enter(&x, dtype).unwrap();
            assert_eq!((there.dtype(), there.dims()), (dtype, &[2, h, w, c][..]));
            let want = x.permute((0, 2, 3, 1)).unwrap().to_dtype(dtype).unwrap();
            near(&there, &want, 0.0, "entered");
            let want = want.to_dtype(DType::F32).unwrap().permute((0, 3, 1, 2)).unwrap();
            near(&o.leave(&there).unwrap(), &want, 0.0, "left");
        }
    }
});

const TYPES: [DType; 2] = [DType::F32, DType::BF16];

/// Bounds of what is computed at once, and of what goes through a value that was kept.
fn bounds(dtype: DType) -> (f64, f64) {
    // Sums of some hundred f32 numbers as in the other tests; then 2⁻⁸ of rounding, and thrice that where a kept value was rounded too and its
    // function's slope (at most 1.1, for numbers up to 1.5 times as large) moves with it.
    if dtype == DType::BF16 { (4e-3, 1.2e-2) } else { (3e-6, 1e-5) }
}

/// Channels first, in f64, as the device will see it: rounded to `dtype`.
fn seen(name: &str, shape: &[usize], dtype: DType) -> Tensor {
    normal(name, shape).to_dtype(dtype).unwrap().to_dtype(DType::F64).unwrap()
}

/// The same on the device with its channels last.
fn there(t: &Tensor, dtype: DType, device: &Device) -> Tensor {
    on(&t.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap(), device).to_dtype(dtype).unwrap()
}

fn first(t: &Tensor) -> Tensor {
    t.permute((0, 3, 1, 2)).unwrap()
}

on_devices!(norm_affine_and_function_with_channels_last, |o, device| {
    let o = o.last.as_ref().unwrap();
    let b = 2;
    for dtype in TYPES {
        let (once, twice) = bounds(dtype);
        // Packs and single numbers; one group, groups, instances; more channels than a block takes.
        for (c, groups) in [(6, 2), (8, 8), (16, 4), (72, 72), (136, 1)] {
            for (i, function) in FUNCTIONS.into_iter().enumerate() {
                let norm = (i % 3 != 0).then_some((groups, 1e-5));
                let (h, w) = if i % 2 == 0 { (5, 4) } else { (3, 3) };
                let some = |yes: bool, name: &str, shape: &[usize]| yes.then(|| normal(name, shape));
                let x = Var::from_tensor(&seen("x", &[b, c, h, w], dtype)).unwrap();
                let before = some(i % 2 == 0, "before", &[c]);
                let (gain, shift) = (some(i % 4 < 2, "gain", &[c]), some(i % 4 < 2, "shift", &[c]));
                let (gain2, shift2) = (some(i > 3, "gain2", &[b, c]), some(i > 3, "shift2", &[b, c]));
                let skip = (i % 3 == 1).then(|| seen("skip", &[b, c, h, w], dtype));
                let channel = |t: &Tensor| t.reshape((1, c, 1, 1)).unwrap();
                let mut y = x.as_tensor().clone();
                if let Some(t) = &before {
                    y = y.broadcast_add(&channel(t)).unwrap();
                }
                if let Some((groups, e)) = norm {
                    y = layers::group_norm(&y, groups, e, None, None).unwrap();
                }
                if let (Some(g), Some(s)) = (&gain, &shift) {
                    y = y.broadcast_mul(&channel(g)).unwrap().broadcast_add(&channel(s)).unwrap();
                }
                if let (Some(g), Some(s)) = (&gain2, &shift2) {
                    let each = |t: &Tensor| t.reshape((b, c, 1, 1)).unwrap();
                    y = y.broadcast_mul(&each(g)).unwrap().broadcast_add(&each(s)).unwrap();
                }
                if let Some(f) = function {
                    y = layers::activate(&y, f).unwrap();
                }
                let parts = [seen("g", &[b, c, h, w], dtype), seen("more g", &[b, c, h, w], dtype)];
                let whole = (&parts[0] + &parts[1]).unwrap();
                let gx = (&y * &whole).unwrap().sum_all().unwrap().backward().unwrap().remove(&x).unwrap();
                if let Some(skip) = &skip {
                    y = (y + skip).unwrap();
                }
                let device32 = |t: &Option<Tensor>| t.as_ref().map(|t| on(t, device));
                let what = NormAct {
                    norm,
                    function,
                    gain: device32(&gain),
                    shift: device32(&shift),
                    gain2: device32(&gain2),
                    shift2: device32(&shift2),
                    skip: skip.as_ref().map(|t| there(t, dtype, device)),
                };
                let (x, before) = (there(&x, dtype, device), device32(&before));
                let text = format!("{dtype:?}, {c} channels, {function:?}, norm {norm:?}");
                let (got, kept) = o.norm_act(&x, before.as_ref(), &what).unwrap().unwrap();
                near(&first(&got), &y, once, &text);
                let parts = parts.map(|t| there(&t, dtype, device));
                let both = Parts(&parts[0], Some(&parts[1]));
                let (got, sum) = o.norm_act_back(&x, before.as_ref(), &what, &kept, both, true).unwrap();
                near(&first(&got), &gx, twice, &text);
                near(&first(&sum.unwrap()), &whole, once, &text);
                // One part is the whole.
                let one = there(&whole, dtype, device);
                let (got, sum) =
                    o.norm_act_back(&x, before.as_ref(), &what, &kept, Parts(&one, None), false).unwrap();
                near(&first(&got), &gx, twice, &text);
                assert!(sum.is_none());
            }
        }
    }
});

on_devices!(pooling_with_bias_and_function_with_channels_last, |o, device| {
    let o = o.last.as_ref().unwrap();
    for dtype in TYPES {
        let (_, twice) = bounds(dtype);
        for rule in [Pool::Average3, Pool::Blur, Pool::Average { size: 2 }] {
            for (c, h, w, function) in [
                (3, 7, 6, None),
                (8, 5, 9, Some(Activation::Swish)),
                (12, 3, 3, Some(Activation::Tanh)),
                (16, 4, 8, Some(Activation::Softplus)),
            ] {
                let x = Var::from_tensor(&seen("x", &[2, c, h, w], dtype)).unwrap();
                let before = (h % 2 == 1).then(|| normal("before", &[c]));
                let mut y = x.as_tensor().clone();
                if let Some(t) = &before {
                    y = y.broadcast_add(&t.reshape((1, c, 1, 1)).unwrap()).unwrap();
                }
                let side = |n: usize| layers::pooling_tensor(&rule, n, &y).unwrap();
                let mut y = layers::pool2d(&y, &side(h), &side(w)).unwrap();
                if let Some(f) = function {
                    y = layers::activate(&y, f).unwrap();
                }
                let parts = [seen("g", y.dims(), dtype), seen("more g", y.dims(), dtype)];
                let whole = (&parts[0] + &parts[1]).unwrap();
                let gx = (&y * &whole).unwrap().sum_all().unwrap().backward().unwrap().remove(&x).unwrap();
                let (x, before) = (there(&x, dtype, device), before.map(|t| on(&t, device)));
                let text = format!("{dtype:?}, {rule:?} of {h}×{w}, {c} channels, {function:?}");
                let (got, kept) = o.pool(&x, before.as_ref(), &rule, function).unwrap().unwrap();
                // The function sees the rounded value.
                near(&first(&got), &y, twice, &text);
                let parts = parts.map(|t| there(&t, dtype, device));
                let g = Parts(&parts[0], Some(&parts[1]));
                let got = o.pool_back(kept.as_ref(), &rule, function, (h, w), g).unwrap();
                near(&first(&got), &gx, twice, &text);
            }
        }
    }
});

on_devices!(sums_over_space_with_channels_last, |o, device| {
    let o = o.last.as_ref().unwrap();
    for dtype in TYPES {
        for (c, h, w, function) in
            [(3, 3, 2, None), (8, 4, 4, Some(Activation::Swish)), (72, 9, 5, Some(Activation::Tanh))]
        {
            let x = Var::from_tensor(&seen("x", &[2, c, h, w], dtype)).unwrap();
            let mut y = x.as_tensor().clone();
            if let Some(f) = function {
                y = layers::activate(&y, f).unwrap();
            }
            let factor = 1.0 / (h * w) as f64;
            let y = y.flatten_from(2).unwrap().sum(2).unwrap().affine(factor, 0.0).unwrap();
            let g = normal("g", &[2, c]);
            let gx = (&y * &g).unwrap().sum_all().unwrap().backward().unwrap().remove(&x).unwrap();
            let x = there(&x, dtype, device);
            let text = format!("{dtype:?}, {c} channels, {function:?}");
            // The result is f32 in either case.
            near(&o.space(&x, function, factor).unwrap().unwrap(), &y, 3e-6, &text);
            near(
                &first(&o.space_back(&x, function, factor, &on(&g, device)).unwrap()),
                &gx,
                bounds(dtype).0,
                &text,
            );
        }
    }
});

on_devices!(attention_in_one_kernel, |o, device| {
    let o = o.last.as_ref().unwrap();
    for dtype in TYPES {
        // Several tiles, a part of one, more channels than a row of threads; scores of order one, and nearly one-hot rows.
        for (q, c, h, w, scale) in
            [(1, 4, 2, 3, 1.0), (3, 24, 5, 4, 1.0), (20, 40, 6, 6, 1.0), (4, 16, 5, 7, 12.0)]
        {
            let (b, places) = (2, h * w);
            let x = Var::from_tensor(&seen("x", &[b, c, h, w], dtype)).unwrap();
            let all = normal("all", &[b, places, 2 * q + c]);
            // Queries alone are scaled.
            let mut factor = vec![1.0; 2 * q + c];
            factor[..q].fill(scale);
            let all = all.broadcast_mul(&Tensor::new(factor, &Device::Cpu).unwrap()).unwrap();
            let all = all.to_dtype(DType::F32).unwrap().to_dtype(DType::F64).unwrap();
            let (all, bias) = (Var::from_tensor(&all).unwrap(), normal("bias", &[2 * q + c]));
            let gamma = normal("gamma", &[1]);
            let maps = all.broadcast_add(&bias).unwrap();
            let part = |from: usize, n: usize| maps.narrow(2, from, n).unwrap().contiguous().unwrap();
            let (query, key, value) = (part(0, q), part(q, q), part(2 * q, c));
            let scores = query.matmul(&key.transpose(1, 2).unwrap().contiguous().unwrap()).unwrap();
            let mixed = scores.softmax_last().unwrap().matmul(&value).unwrap().broadcast_mul(&gamma).unwrap();
            let mixed = mixed.transpose(1, 2).unwrap().contiguous().unwrap().reshape((b, c, h, w)).unwrap();
            let y = (x.as_tensor() + mixed).unwrap();
            let parts = [seen("g", &[b, c, h, w], dtype), seen("more g", &[b, c, h, w], dtype)];
            let whole = (&parts[0] + &parts[1]).unwrap();
            let grads = (&y * &whole).unwrap().sum_all().unwrap().backward().unwrap();
            let (x, parts) = (there(&x, dtype, device), parts.map(|t| there(&t, dtype, device)));
            let [all32, bias32, gamma32] = [all.as_tensor(), &bias, &gamma].map(|t| on(t, device));
            let text = format!("{dtype:?}, {c} channels, {q} of queries, {h}×{w}, scores times {scale}");
            let (got, kept) = o.attention(&x, &all32, &bias32, &gamma32).unwrap().unwrap();
            // Scores of some tens round by 2e-6, and so do their exponentials, relatively.
            let once = bounds(dtype).0 + 1e-5;
            near(&first(&got), &y, once, &text);
            let g = Parts(&parts[0], Some(&parts[1]));
            let (of_all, sum) = o.attention_back(&all32, &bias32, &gamma32, &kept, g).unwrap();
            // In f32 whatever the images are: sums of some hundred products of three numbers.
            near(&of_all, grads.get(&all).unwrap(), 3e-5, &text);
            near(&first(&sum), &whole, once, &text);
        }
    }
});

on_devices!(what_the_tiles_have_no_room_for_is_not_covered, |o, device| {
    let o = o.last.as_ref().unwrap();
    let t = |shape: &[usize]| on(&normal("t", shape), device);
    for (q, c) in [(33, 8), (0, 8), (2, 257)] {
        let (x, all) = (t(&[1, 1, 2, c]), t(&[1, 2, 2 * q + c]));
        assert!(o.attention(&x, &all, &t(&[2 * q + c]), &t(&[1])).unwrap().is_none());
    }
    // Another number of places, of biases, of γ.
    let (x, all) = (t(&[1, 1, 2, 8]), t(&[1, 2, 12]));
    assert!(o.attention(&x, &t(&[1, 3, 12]), &t(&[12]), &t(&[1])).unwrap().is_none());
    assert!(o.attention(&x, &all, &t(&[11]), &t(&[1])).unwrap().is_none());
    assert!(o.attention(&x, &all, &t(&[12]), &t(&[2])).unwrap().is_none());
    // Groups that do not part the channels, a bias of another length, and halves that are not bfloat16.
    let what = NormAct { norm: Some((3, 1e-5)), ..NormAct::default() };
    assert!(o.norm_act(&x, None, &what).unwrap().is_none());
    assert!(o.norm_act(&x, Some(&t(&[7])), &NormAct::default()).unwrap().is_none());
    let half = x.to_dtype(DType::F16).unwrap();
    assert!(o.norm_act(&half, None, &NormAct::default()).unwrap().is_none());
    assert!(o.enter(&t(&[1, 2, 1, 1]), DType::F16).is_err());
});
