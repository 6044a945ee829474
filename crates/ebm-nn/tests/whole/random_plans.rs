//! Random networks of all layers: all five calls against central differences in f64, and layers at their corners in f32 against f64.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::plan::{Activation, Pool};
use ebm_core::{Batch, BuildCx, Chains, EnergyFn, Key, Result};
use ebm_nn::{Conv, NetBuilder, Weight};
use ebm_testkit::{cases, check_energy_within};
use proptest::prelude::*;

const SMOOTH: [Activation; 5] =
    [Activation::Swish, Activation::Tanh, Activation::Softplus, Activation::Sigmoid, Activation::Square];

fn normal(key: Key, shape: &[usize]) -> Tensor {
    key.normal(&Chains::range(0, shape[0]), &shape[1..], DType::F64, &Device::Cpu).unwrap()
}

/// The network that `write` describes, its parameters off their symmetric starts, the same in every type.
fn build(
    shape: &[usize],
    dtype: DType,
    seed: u64,
    write: impl Fn(&mut NetBuilder<'_>) -> Result<()>,
) -> Arc<dyn EnergyFn> {
    let mut cx = BuildCx::new(shape, dtype, &Device::Cpu, Key::root(3)).with_condition(3);
    let mut net = NetBuilder::new(&mut cx);
    write(&mut net).unwrap();
    let e = net.finish().unwrap();
    for (i, name) in (0u64..).zip(e.params().trainable().map(str::to_string).collect::<Vec<_>>()) {
        let rows = [&[1], e.params().get(&name).unwrap().dims()].concat();
        let noise = normal(Key::root(seed).at(i), &rows).squeeze(0).unwrap().affine(0.3, 0.0).unwrap();
        let gain = name.ends_with("norm.weight") || name.ends_with("gamma");
        let value = noise.affine(1.0, if gain { 1.0 } else { 0.0 }).unwrap().to_dtype(DType::F32).unwrap();
        e.params().set(&name, &value.to_dtype(dtype).unwrap()).unwrap();
    }
    // Weights of a random start may have a spectral norm of nearly 0.
    for _ in 0..5 {
        for (name, value) in e.refreshed_buffers().unwrap() {
            e.params().set(&name, &value).unwrap();
        }
    }
    e
}

/// One layer of the kind `0..9` of width `width` with the function `f`.
fn layer(net: &mut NetBuilder<'_>, i: usize, (kind, width, f): (u8, usize, usize)) -> Result<()> {
    let name = format!("n{i}");
    let (channels, side) = (net.shape()[0], net.shape()[1].min(net.shape()[2]));
    let conv = |width: usize| Conv::new(width, 3);
    match kind {
        0 => net.conv(&name, conv(width))?,
        1 => net.conv(&name, conv(width).weight(Weight::Standardised))?.activate(SMOOTH[f])?,
        2 => net.conv(&name, conv(width).weight(Weight::Spectral))?.activate(SMOOTH[f])?,
        3 if side > 1 => net.norm(&format!("{name}.norm"), channels)?.activate(SMOOTH[f])?,
        4 => {
            let skip = net.here();
            net.conv(&name, conv(channels))?.activate(SMOOTH[f])?.add(skip)?
        }
        5 => net.label(&name, 3)?.activate(SMOOTH[f])?,
        6 if channels >= 8 => net.attention(&name)?,
        7 if side > 2 => net.pool([Pool::Average3, Pool::Blur, Pool::Average { size: 2 }][f % 3].clone())?,
        // Few of the nets are so wide: each parameter costs eight calls of differences.
        _ => net.conv(&name, conv(8).stride(2))?.activate(SMOOTH[f])?,
    };
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(6)))]
    #[test]
    fn random_networks_have_exact_derivatives(
        side in (2usize..6, 2usize..6), seed in 0u64..1_000_000, cond in any::<bool>(),
        layers in prop::collection::vec((0u8..9, 1usize..5, 0usize..5), 1..3),
    ) {
        let shape = [1, side.0, side.1];
        let e = build(&shape, DType::F64, seed, |net| {
            net.conv("first", Conv::new(3, 3))?;
            for (i, l) in layers.iter().enumerate() {
                layer(net, i, *l)?;
            }
            net.spatial_mean()?.linear("head", 3)?.activate(Activation::Tanh)?.linear("out", 1)?.term("energy");
            Ok(())
        });
        let rows = [&[2], &shape[..]].concat();
        let at = Batch::new(normal(Key::root(seed).at("x"), &rows)).unwrap();
        let at = at.with_cond(cond.then(|| normal(Key::root(seed).at("y"), &[2, 3])));
        // Squares of squares and norms of four pixels have third derivatives of some hundreds: h² of them is 1e-6 of the largest.
        if let Err(e) = check_energy_within(&*e, &at, 1e-5, 1e-5) {
            prop_assert!(false, "{e}");
        }
    }

    /// A norm of a map at a level, a function in its tail, an attention with large scores: f32 has what its samples leave.
    #[test]
    fn layers_at_their_corners_keep_their_digits_in_f32(
        level in 0f64..1e4, contrast in -3f64..1.0, groups in 0usize..3, f in 0usize..4, seed in 0u64..1_000_000,
        tail in -3f64..3.0,
    ) {
        let shape = [8, 3, 3];
        let all = |dtype: DType| {
            let e = build(&shape, dtype, seed, |net| {
                net.norm("norm", [1, 2, 8][groups])?.scale(tail)?.activate(SMOOTH[f])?;
                net.attention("attention")?.scale(2.0)?.activate(SMOOTH[f])?;
                net.spatial_mean()?.linear("head", 1)?.term("energy");
                Ok(())
            });
            let key = Key::root(seed);
            let draw = |name: &str| normal(key.at(name), &[2, 8, 3, 3]);
            let single = |t: Tensor| t.to_dtype(DType::F32).unwrap().to_dtype(dtype).unwrap();
            let x = single(draw("x").affine(10f64.powf(contrast), level).unwrap());
            let (at, v) = (Batch::new(x).unwrap(), single(draw("v")));
            let mixed = e.grad_theta_slope(&at, &v).unwrap().grads;
            [e.slope(&at).unwrap().grad, e.hvp(&at, &v).unwrap(), mixed["attention.query_conv.weight"].clone()]
        };
        let list = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for (what, (a, b)) in ["slope", "hvp", "mixed"].iter().zip(all(DType::F32).iter().zip(&all(DType::F64))) {
            let (a, b) = (list(a), list(b));
            let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
            let off = norm(&mut a.iter().zip(&b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied());
            // Some hundred roundings, in second derivatives of sums that cancel by a factor of ten.
            prop_assert!(off < 1e-3, "{what} off by {off:.1e}");
        }
    }
}
