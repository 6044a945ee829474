//! Every layer's five calls against central differences in f64, and the adjoints of convolution.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor, Var};
use ebm_core::plan::{Activation, Pool, Products};
use ebm_core::{Batch, BuildCx, Chains, EnergyFn, Key, Result};
use ebm_nn::{Conv, NetBuilder, Weight, layers};
use ebm_testkit::{check_energy, relative_gap};

fn normal(seed: u64, shape: &[usize]) -> Tensor {
    let rows = Chains::range(0, shape[0]);
    Key::root(seed).normal(&rows, &shape[1..], DType::F64, &Device::Cpu).unwrap()
}

/// Builds `write` on images of `shape`, moves every parameter off its symmetric start, and checks
/// the five calls on two rows. `condition` 0 means none.
fn check(
    shape: &[usize],
    condition: usize,
    write: impl Fn(&mut NetBuilder<'_>) -> Result<()>,
) -> Arc<dyn EnergyFn> {
    let mut cx = BuildCx::new(shape, DType::F64, &Device::Cpu, Key::root(3)).with_condition(condition);
    let mut net = NetBuilder::new(&mut cx);
    write(&mut net).unwrap();
    let e = net.finish().unwrap();
    for (i, name) in e.params().trainable().map(str::to_string).collect::<Vec<_>>().into_iter().enumerate() {
        let old = e.params().get(&name).unwrap().clone();
        let mut rows = vec![1];
        rows.extend(old.dims());
        let noise = normal(100 + i as u64, &rows).squeeze(0).unwrap();
        e.params().set(&name, &(old + (noise * 0.2).unwrap()).unwrap()).unwrap();
    }
    // A random start of the power iteration can make σ nearly 0; a few rounds bring it to its value.
    for _ in 0..5 {
        for (name, value) in e.refreshed_buffers().unwrap() {
            e.params().set(&name, &value).unwrap();
        }
    }
    let mut rows = vec![2];
    rows.extend(shape);
    let cond = (condition > 0).then(|| normal(9, &[2, condition]));
    let at = Batch::new(normal(7, &rows)).unwrap().with_cond(cond);
    check_energy(e.as_ref(), &at).unwrap_or_else(|f| panic!("{f}"));
    e
}

fn head(net: &mut NetBuilder<'_>) -> Result<()> {
    net.flatten()?.linear("head", 3)?.activate(Activation::Tanh)?.linear("out", 1)?.term("energy");
    Ok(())
}

#[test]
fn linear_and_every_activation() {
    use Activation::{LeakyRelu, Relu, Sigmoid, Softplus, Square, Swish, Tanh};
    for rule in [Swish, Tanh, Softplus, Sigmoid, Square, Relu, LeakyRelu(0.2)] {
        check(&[3], 0, |net| {
            net.linear("a", 4)?.activate(rule)?.linear("b", 3)?.activate(Swish)?;
            head(net)
        });
    }
}

#[test]
fn fourier_features() {
    check(&[2], 0, |net| {
        net.fourier("fourier", 3, 0.2)?;
        head(net)
    });
}

#[test]
fn convolutions_of_every_stride_and_padding() {
    for (kernel, stride, padding) in
        [(1, 1, 0), (3, 1, 1), (3, 2, 1), (5, 2, 2), (2, 2, 0), (3, 3, 0), (2, 3, 1)]
    {
        check(&[1, 6, 5], 0, |net| {
            net.conv("conv", Conv::new(2, kernel).stride(stride).padding(padding))?
                .activate(Activation::Swish)?;
            head(net)
        });
    }
}

#[test]
fn standardised_and_spectral_weights() {
    for weight in [Weight::Standardised, Weight::Spectral] {
        check(&[2, 4, 4], 0, |net| {
            net.conv("conv", Conv::new(3, 3).weight(weight))?.activate(Activation::Swish)?;
            head(net)
        });
    }
}

#[test]
fn group_and_instance_norm() {
    for groups in [1, 2, 4] {
        check(&[2, 4, 3], 0, |net| {
            net.conv("conv", Conv::new(4, 3))?.norm("norm", groups)?.activate(Activation::Swish)?;
            head(net)
        });
    }
}

#[test]
fn labels_scale_and_shift() {
    let e = check(&[2, 4, 4], 3, |net| {
        net.conv("conv", Conv::new(2, 3))?.label("label", 3)?.activate(Activation::Swish)?;
        head(net)
    });
    // Without a label the layer is the identity, not a zero label.
    let x = normal(7, &[2, 2, 4, 4]);
    let zero = Tensor::zeros((2, 3), DType::F64, &Device::Cpu).unwrap();
    let none = e.energy(&Batch::new(x.clone()).unwrap()).unwrap();
    let zeros = e.energy(&Batch::new(x).unwrap().with_cond(Some(zero))).unwrap();
    assert!(relative_gap(&none, &zeros).unwrap() > 1e-3);
}

#[test]
fn every_pooling_rule_on_odd_and_even_sides() {
    for rule in [Pool::Average3, Pool::Blur, Pool::Average { size: 2 }, Pool::Average { size: 3 }] {
        for shape in [[1, 6, 5], [2, 3, 4]] {
            check(&shape, 0, |net| {
                net.pool(rule.clone())?.activate(Activation::Swish)?;
                head(net)
            });
        }
    }
}

/// Every number of a bfloat16 convolution is that of the rounded factors, rounded once more; and so are its adjoints.
#[test]
fn convolutions_in_bfloat16_round_factors_and_results() {
    let draw = |name: &str, shape: &[usize]| {
        let chains = Chains::range(0, shape[0]);
        Key::root(2).at(name).normal(&chains, &shape[1..], DType::F32, &Device::Cpu).unwrap()
    };
    let low = |t: &Tensor| t.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
    let numbers = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (x, w, g) = (draw("x", &[2, 3, 6, 5]), draw("w", &[4, 3, 3, 3]), draw("g", &[2, 4, 6, 5]));
    let (x, w) = (Var::from_tensor(&x).unwrap(), Var::from_tensor(&w).unwrap());
    let y = layers::conv2d_in(Products::Bf16, x.as_tensor(), w.as_tensor(), None, 1, 1).unwrap();
    let (xl, wl, gl) = (low(&x), low(&w), low(&g));
    assert_eq!(numbers(&y), numbers(&low(&layers::conv2d(&xl, &wl, None, 1, 1).unwrap())));
    let grads = (&y * &g).unwrap().sum_all().unwrap().backward().unwrap();
    let gx = layers::input_gradient(&gl, &wl, (6, 5), 1, 1).unwrap();
    assert_eq!(numbers(grads.get(&x).unwrap()), numbers(&low(&gx)));
    let gw = layers::weight_gradient(&xl, &gl, 3, 1, 1).unwrap();
    assert_eq!(numbers(grads.get(&w).unwrap()), numbers(&low(&gw)));
    // It is another convolution than the plain one.
    assert_ne!(numbers(&y), numbers(&layers::conv2d(x.as_tensor(), &w, None, 1, 1).unwrap()));
}

#[test]
fn attention() {
    check(&[8, 2, 3], 0, |net| {
        net.attention("attn")?.activate(Activation::Swish)?;
        head(net)
    });
}

#[test]
fn residual_sums_concatenations_and_several_terms() {
    check(&[2, 3, 3], 0, |net| {
        let skip = net.here();
        net.conv("a", Conv::new(2, 3))?.activate(Activation::Swish)?.add(skip)?.scale(0.7)?;
        let body = net.here();
        net.spatial_mean()?;
        let mean = net.here();
        net.at(body).spatial_sum()?.concat(&[mean])?.activate(Activation::Tanh)?;
        let both = net.here();
        net.linear("head", 1)?.term("first");
        net.at(both).activate(Activation::Square)?.sum_all()?.term("second");
        Ok(())
    });
}

#[test]
fn convolution_adjoints_agree_with_their_definition() {
    // ⟨g, conv(x, w)⟩ is linear in x and in w: the adjoints must give the same number three times.
    for (h, w, k, s, p) in
        [(7, 5, 3, 2, 1), (8, 8, 5, 2, 2), (6, 9, 4, 3, 2), (5, 5, 1, 2, 0), (4, 7, 3, 1, 0)]
    {
        let (x, weight) = (normal(1, &[3, 2, h, w]), normal(2, &[4, 2, k, k]));
        let y = layers::conv2d(&x, &weight, None, s, p).unwrap();
        let g = normal(3, y.dims());
        let dot = |a: &Tensor, b: &Tensor| (a * b).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        let whole = dot(&g, &y);
        let dx = layers::input_gradient(&g, &weight, (h, w), s, p).unwrap();
        let dw = layers::weight_gradient(&x, &g, k, s, p).unwrap();
        // Sums of about a thousand products of unit size in f64.
        assert!((dot(&dx, &x) - whole).abs() < 1e-10, "input, k {k} s {s} p {p}");
        assert!((dot(&dw, &weight) - whole).abs() < 1e-10, "weight, k {k} s {s} p {p}");
    }
}

#[test]
fn frozen_weights_get_no_gradient_and_live_ones_do() {
    use ebm_core::candle::Var;
    let x = Var::from_tensor(&normal(1, &[2, 2, 5, 5])).unwrap();
    let w = Var::from_tensor(&normal(2, &[3, 2, 3, 3])).unwrap();
    let y = layers::conv2d(x.as_tensor(), &w.as_detached_tensor(), None, 1, 1).unwrap();
    let store = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    assert!(store.get(&x).is_some() && store.get(&w).is_none());
    let y = layers::conv2d(&x.as_detached_tensor(), w.as_tensor(), None, 1, 1).unwrap();
    let store = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    assert!(store.get(&x).is_none() && store.get(&w).is_some());
}

#[test]
fn power_iteration_finds_the_largest_singular_value() {
    // diag(3, 1) as a (2, 2, 1, 1) weight: after many iterations u = v = ±e₁ and W/σ has norm 1.
    let w = Tensor::new(&[3f64, 0.0, 0.0, 1.0], &Device::Cpu).unwrap().reshape((2, 2, 1, 1)).unwrap();
    let mut u = Tensor::new(&[0.6f64, 0.8], &Device::Cpu).unwrap();
    let mut v = u.clone();
    for _ in 0..40 {
        (u, v) = layers::power_iteration(&w, &u).unwrap();
    }
    let scaled = layers::spectral(&w, &u, &v).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    // The ratio of singular values is 1/3: the error after 40 iterations is 9^-40.
    assert!((scaled[0] - 1.0).abs() < 1e-12 && (scaled[3] - 1.0 / 3.0).abs() < 1e-12, "{scaled:?}");
}

#[test]
fn refreshed_buffers_are_one_power_iteration() {
    let e = check(&[1, 4, 4], 0, |net| {
        net.conv("conv", Conv::new(2, 3).weight(Weight::Spectral))?;
        head(net)
    });
    let new = e.refreshed_buffers().unwrap();
    let p = e.params();
    let (u, v) =
        layers::power_iteration(p.get("conv.weight_orig").unwrap(), p.get("conv.weight_u").unwrap()).unwrap();
    assert_eq!(new.keys().collect::<Vec<_>>(), ["conv.weight_u", "conv.weight_v"]);
    assert_eq!(new["conv.weight_u"].to_vec1::<f64>().unwrap(), u.to_vec1::<f64>().unwrap());
    assert_eq!(new["conv.weight_v"].to_vec1::<f64>().unwrap(), v.to_vec1::<f64>().unwrap());
}

#[test]
fn the_slope_of_swish_survives_large_activations() {
    use ebm_core::Diff;
    use ebm_core::candle::Var;
    let x = Var::from_tensor(&Tensor::new(&[1.234_567e7f32, 7.6e4, -9e6], &Device::Cpu).unwrap()).unwrap();
    for y in [layers::swish(x.as_tensor()).unwrap(), x.as_tensor().swish().unwrap()] {
        let g = y.sum_all().unwrap().backward().unwrap().get(&x).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(g, [1.0, 1.0, 0.0]);
    }
}
