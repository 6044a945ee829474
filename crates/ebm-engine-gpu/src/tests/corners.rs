//! The kernels where formulas cancel: maps at a level far above their contrast, tails of functions, rows with all their mass at one place.

use candle_core::{D, DType, Device, Tensor, Var};
use ebm_core::operators::{NormAct, Operators, Parts};
use ebm_core::plan::Activation;
use ebm_core::{Diff, Dual};
use ebm_nn::layers;

use super::host::Host;
use super::{gpu, normal, on, read};
use crate::operators;

fn on_each_device(body: fn(&Operators, &Device)) {
    if let Some(host) = Host::new() {
        body(&operators(host), &Device::Cpu);
    }
    if let Some((_alone, device)) = gpu() {
        body(&ebm_core::operators::operators(&device).unwrap(), &device);
    }
}

/// Numbers of f32, in f64.
fn single(t: &Tensor) -> Tensor {
    t.to_dtype(DType::F32).unwrap().to_dtype(DType::F64).unwrap()
}

/// Relative distance, without a floor.
#[track_caller]
fn near(a: &Tensor, b: &Tensor, bound: f64, what: &str) {
    let (a, b) = (read(a), read(b));
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let off = norm(&mut a.iter().zip(&b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied());
    assert!(off <= bound, "{what}: {off:.1e}, at most {bound:.0e}");
}

/// All passes of a norm and a function at `x` along `dx` against tensor operations in f64.
fn passes(
    o: &Operators,
    device: &Device,
    x: &Tensor,
    dx: &Tensor,
    groups: Option<usize>,
    f: Option<Activation>,
) {
    let (norms, tangents) = (o.norms.as_ref().unwrap(), o.tangents.as_ref().unwrap());
    let (b, c, _, _) = x.dims4().unwrap();
    let var = |t: &Tensor| Var::from_tensor(&single(t)).unwrap();
    let (x, dx) = (var(x), var(dx));
    let (gain, shift) =
        (var(&normal("gain2", &[b, c]).affine(0.3, 1.0).unwrap()), var(&normal("shift2", &[b, c])));
    let g = single(&normal("g", x.dims()));
    let each = |t: &Tensor| t.reshape((b, c, 1, 1)).unwrap();
    let mut y = Dual::new(x.as_tensor().clone(), dx.as_tensor().clone());
    if let Some(groups) = groups {
        y = layers::group_norm(&y, groups, 1e-5, None, None).unwrap();
    }
    y = y.times(&each(&gain)).unwrap().shift(&each(&shift)).unwrap();
    if let Some(f) = f {
        y = layers::activate(&y, f).unwrap();
    }
    let backward = |t: &Tensor| (t * &g).unwrap().sum_all().unwrap().backward().unwrap();
    let (first, second) = (backward(y.value()), backward(y.tangent()));
    let what = NormAct {
        norm: groups.map(|groups| (groups, 1e-5)),
        function: f,
        gain2: Some(on(&gain, device)),
        shift2: Some(on(&shift, device)),
        ..NormAct::default()
    };
    let (x32, dx32, g32) = (on(&x, device), on(&dx, device), on(&g, device));
    let text = |pass: &str| format!("{pass} of {groups:?} groups, {f:?}");
    let bound = 3e-5;
    let (got, kept) = norms.norm_act(&x32, &what).unwrap().unwrap();
    near(&got, y.value(), bound, &text("value"));
    let (of_x, _) = norms.back(&x32, &what, &kept, Parts(&g32, None), false).unwrap();
    near(&of_x, first.get(&x).unwrap(), bound, &text("slope"));
    let affine = norms.affine_back(&x32, &what, &kept, &g32).unwrap();
    near(&affine.get(0).unwrap(), first.get(&gain).unwrap(), bound, &text("gain"));
    let (dy, kept) = tangents.tangent(&x32, &what, &dx32).unwrap().unwrap();
    near(&dy, y.tangent(), bound, &text("tangent"));
    let got = tangents.back(&x32, &what, &dx32, &kept, &g32, true).unwrap();
    near(&got.dx, second.get(&dx).unwrap(), bound, &text("slope of the tangent"));
    if let Some(want) = second.get(&x) {
        near(&got.x, want, bound, &text("bend"));
    }
    near(
        &got.affine.unwrap().get(0).unwrap(),
        second.get(&gain).unwrap(),
        bound,
        &text("gain of the tangent"),
    );
}

#[test]
fn norms_of_maps_and_directions_at_a_level_far_above_their_contrast() {
    on_each_device(|o, device| {
        let shape = [2, 6, 5, 4];
        for groups in [1, 2, 6] {
            for (level, contrast) in [(0.0, 1.0), (1000.3, 1.0), (1e4 + 0.3, 0.1), (300.1, 0.003)] {
                let x = normal("x", &shape).affine(contrast, level).unwrap();
                let dx = normal("dx", &shape);
                passes(o, device, &x, &dx, Some(groups), Some(Activation::Swish));
                let far = dx.affine(1.0, 1e4).unwrap();
                passes(o, device, &normal("x", &shape), &far, Some(groups), Some(Activation::Swish));
            }
        }
    });
}

#[test]
fn tails_of_functions_in_every_order() {
    on_each_device(|o, device| {
        for f in [Activation::Tanh, Activation::Swish, Activation::Softplus, Activation::Sigmoid] {
            for level in [-12.0, -7.0, 7.0, 12.0] {
                let x = normal("x", &[2, 6, 5, 4]).affine(0.5, level).unwrap();
                passes(o, device, &x, &normal("dx", &[2, 6, 5, 4]), None, Some(f));
            }
        }
    });
}

#[test]
fn softmax_of_rows_with_all_their_mass_at_one_place() {
    on_each_device(|o, device| {
        let o = o.softmax.as_ref().unwrap();
        for (width, scale) in [(5, 20.0), (64, 8.0), (300, 6.0)] {
            let x = Var::from_tensor(&single(&normal("scores", &[6, width]).affine(scale, 0.0).unwrap()))
                .unwrap();
            let g = single(&normal("gy", &[6, width]).affine(1.0, 300.0).unwrap());
            let y = x.as_tensor().softmax_last().unwrap();
            let gx = (&y * &g).unwrap().sum_all().unwrap().backward().unwrap().remove(&x).unwrap();
            let got = o.back(&o.softmax(&on(&x, device)).unwrap().unwrap(), &on(&g, device)).unwrap();
            assert!(y.max(D::Minus1).unwrap().max_all().unwrap().to_scalar::<f64>().unwrap() > 0.9);
            // Scores of some tens round by 2e-6, and so do their shares.
            near(&got, &gx, 3e-5, &format!("width {width}"));
        }
    });
}
