//! Every operator against tensor operations in f64 on the processor, on each device there is: the kernels run by host threads, and
//! a GPU. Without one the test says so and passes.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod on_devices;
mod convolutions;
mod corners;
mod host;
mod last;
mod many;
mod network;
mod own;
#[cfg(feature = "cuda")]
mod paper;
mod recorder;
mod recordings;
mod training;
mod vendor;

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Tensor, Var};
use ebm_core::backend::Backend;
use ebm_core::operators::{Elementwise, Entry, Formula, Law, NormAct, Operators, Parts};
use ebm_core::plan::{Activation, Pool};
use ebm_core::{Chains, Diff, Dual, Key, RowStep};
use ebm_nn::layers;

use crate::operators;
use host::Host;

/// The GPU, for one test at a time: what a thread starts while another records would be recorded. Without one says why.
fn gpu() -> Option<(MutexGuard<'static, ()>, Device)> {
    static ONE: Mutex<()> = Mutex::new(());
    let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    match crate::Cuda.open(0) {
        Ok(device) => Some((alone, device)),
        Err(why) => {
            println!("skipped: {why}");
            None
        }
    }
}

fn normal(name: &str, shape: &[usize]) -> Tensor {
    Key::root(5).at(name).normal(&Chains::range(3, shape[0]), &shape[1..], DType::F64, &Device::Cpu).unwrap()
}

/// In f32 on the device.
fn on(t: &Tensor, device: &Device) -> Tensor {
    t.to_dtype(DType::F32).unwrap().to_device(device).unwrap()
}

/// A gradient in two parts, on the device.
fn in_parts(g: &Tensor, device: &Device) -> (Tensor, Tensor) {
    let part = |share: f64| on(&g.affine(share, 0.0).unwrap(), device);
    (part(0.25), part(0.75))
}

fn read(t: &Tensor) -> Vec<f64> {
    let t = t.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference, as a share of the largest number (at least 1).
fn off(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (read(a), read(b));
    let size = b.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    a.iter().zip(&b).fold(0.0f64, |m, (x, y)| if (x - y).abs() <= m { m } else { (x - y).abs() }) / size
}

#[track_caller]
fn near(a: &Tensor, b: &Tensor, bound: f64, what: &str) {
    let off = off(a, b);
    // Always told: a bound that is nearly reached says as much as one that is passed.
    println!("largest deviation {off:.2e}, at most {bound:.0e}: {what}");
    assert!(off <= bound, "{what}: {off:.2e}, at most {bound:.0e}");
}

/// Rounding of sums of at most some hundred f32 numbers of order one, with room for the library's exp.
const SUMS: f64 = 3e-6;

const FUNCTIONS: [Option<Activation>; 8] = [
    None,
    Some(Activation::Swish),
    Some(Activation::Relu),
    Some(Activation::LeakyRelu(0.2)),
    Some(Activation::Tanh),
    Some(Activation::Softplus),
    Some(Activation::Sigmoid),
    Some(Activation::Square),
];

fn chains() -> Chains {
    // Indices beyond 32 bits, out of order.
    Chains::from_ids(vec![7, 1 << 40, 0, u64::MAX, 12])
}

on_devices!(random_numbers_have_the_bits_of_the_key, |o, device| {
    let o = o.random.as_ref().unwrap();
    for width in [1, 3, 4, 37, 1030] {
        let key = Key::root(9).at(width);
        let (mut normals, mut uniforms) = (vec![0f32; 5 * width], vec![0f32; 5 * width]);
        key.fill_normal_rows(chains().ids(), width, &mut normals);
        for (row, id) in uniforms.chunks_mut(width).zip(chains().ids()) {
            key.fill_uniform(*id, row);
        }
        for (want, got) in [
            (normals, o.random(Law::Normal, key, &chains(), width, device)),
            (uniforms, o.random(Law::Uniform, key, &chains(), width, device)),
        ] {
            let got = got.unwrap().unwrap();
            assert_eq!(got.dims(), [5, width]);
            let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let same = want.iter().zip(&got).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "width {width}");
        }
    }
});

on_devices!(row_steps_have_the_bits_of_tensor_operations, |o, device| {
    let o = o.rows.as_ref().unwrap();
    let (x, g) = (on(&normal("x", &[5, 2, 9]), device), on(&normal("g", &[5, 2, 9]), device));
    let key = Key::root(1).at("step");
    let mut eps = vec![0f32; 5 * 18];
    key.fill_normal_rows(chains().ids(), 18, &mut eps);
    let eps = Tensor::from_vec(eps, (5, 2, 9), device).unwrap();
    let noisy = o.add_noise(&x, 0.3, &chains(), key).unwrap().unwrap();
    let want = (&x + eps.affine(0.3, 0.0).unwrap()).unwrap();
    assert_eq!(read(&noisy), read(&want));
    for (noise_first, clamp, move_limit) in [
        (true, None, None),
        (false, None, None),
        (true, Some((-0.5, 0.5)), Some(0.2)),
        (false, Some((-0.5, 0.5)), None),
    ] {
        let step = RowStep { step_size: 0.7, noise: 0.1, noise_first, clamp, move_limit };
        let got = o.advance(&step, &x, &g, &chains(), key).unwrap().unwrap();
        let mut d = g.affine(0.7, 0.0).unwrap();
        if let Some(limit) = move_limit {
            d = d.clamp(-limit, limit).unwrap();
        }
        let mut want = (&x - d).unwrap();
        if !noise_first {
            want = (want + eps.affine(0.1, 0.0).unwrap()).unwrap();
        }
        if let Some((low, high)) = clamp {
            want = want.clamp(low, high).unwrap();
        }
        assert_eq!(read(&got), read(&want), "{step:?}");
    }
});

on_devices!(mean_squares_of_rows, |o, device| {
    let o = o.rows.as_ref().unwrap();
    for width in [1, 7, 256, 700] {
        let x = normal("rows", &[6, width]);
        let got = o.mean_square(&on(&x, device)).unwrap().unwrap();
        near(&got, &x.sqr().unwrap().mean(1).unwrap(), SUMS, &format!("width {width}"));
    }
});

on_devices!(pooling_and_its_transpose, |o, device| {
    let o = o.pools.as_ref().unwrap();
    for rule in [Pool::Average3, Pool::Blur, Pool::Average { size: 2 }, Pool::Average { size: 3 }] {
        for (h, w) in [(8, 8), (7, 6), (5, 9), (3, 3), (2, 3)] {
            if matches!(rule, Pool::Average { size: 3 }) && h < 3 {
                continue;
            }
            let x = Var::from_tensor(&normal("pool", &[2, 3, h, w])).unwrap();
            let (r, c) = (
                layers::pooling_tensor(&rule, h, &x).unwrap(),
                layers::pooling_tensor(&rule, w, &x).unwrap(),
            );
            let y = layers::pool2d(x.as_tensor(), &r, &c).unwrap();
            let g = normal("pool g", y.dims());
            let gx = (&y * &g).unwrap().sum_all().unwrap().backward().unwrap().remove(&x).unwrap();
            let what = format!("{rule:?} of {h}×{w}");
            near(&o.pool(&on(&x, device), &rule).unwrap().unwrap(), &y, SUMS, &what);
            let (whole, (some, rest)) = (on(&g, device), in_parts(&g, device));
            for parts in [Parts(&whole, None), Parts(&some, Some(&rest))] {
                near(&o.pool_back(parts, &rule, (h, w)).unwrap(), &gx, SUMS, &what);
            }
        }
    }
});

on_devices!(norm_affine_and_function_both_ways, |o, device| {
    let o = o.norms.as_ref().unwrap();
    let (b, c) = (3, 6);
    for (i, function) in FUNCTIONS.into_iter().enumerate() {
        for norm in [None, Some((2, 1e-5)), Some((6, 1e-3)), Some((1, 1e-5))] {
            for parts in 0..4 {
                let (h, w) = if i % 2 == 0 { (5, 4) } else { (9, 8) };
                let (affine, label) = (parts & 1 == 1, parts & 2 == 2);
                let some = |yes: bool, name: &str, shape: &[usize]| yes.then(|| normal(name, shape));
                let (gain, shift) = (some(affine, "gain", &[c]), some(affine, "shift", &[c]));
                let tracked = |name: &str| label.then(|| Var::from_tensor(&normal(name, &[b, c])).unwrap());
                let (gain2, shift2) = (tracked("gain2"), tracked("shift2"));
                let (gain2, shift2) =
                    (gain2.map(|v| v.as_tensor().clone()), shift2.map(|v| v.as_tensor().clone()));
                let x = Var::from_tensor(&normal("x", &[b, c, h, w]).affine(1.5, 0.4).unwrap()).unwrap();
                let mut y = x.as_tensor().clone();
                let channel = |t: &Tensor| t.reshape((1, c, 1, 1)).unwrap();
                match norm {
                    Some((groups, e)) => {
                        y = layers::group_norm(&y, groups, e, gain.as_ref(), shift.as_ref()).unwrap()
                    }
                    None if affine => {
                        y = y.times(&channel(gain.as_ref().unwrap())).unwrap();
                        y = y.shift(&channel(shift.as_ref().unwrap())).unwrap();
                    }
                    None => {}
                }
                if let (Some(g), Some(s)) = (&gain2, &shift2) {
                    let each = |t: &Tensor| t.reshape((b, c, 1, 1)).unwrap();
                    y = y.times(&each(g)).unwrap().shift(&each(s)).unwrap();
                }
                if let Some(f) = function {
                    y = layers::activate(&y, f).unwrap();
                }
                let g = normal("gy", y.dims());
                let grads = (&y * &g).unwrap().sum_all().unwrap().backward().unwrap();
                let gx = grads.get(&x).unwrap();
                let there = |t: &Option<Tensor>| t.as_ref().map(|t| on(t, device));
                let skip = some(i % 3 == 0, "skip", &[b, c, h, w]);
                if let Some(skip) = &skip {
                    y = (y + skip).unwrap();
                }
                let what = NormAct {
                    skip: there(&skip),
                    norm,
                    gain: there(&gain),
                    shift: there(&shift),
                    gain2: there(&gain2),
                    shift2: there(&shift2),
                    function,
                };
                let (x, g) = (on(&x, device), on(&g, device));
                let (got, kept) = o.norm_act(&x, &what).unwrap().unwrap();
                let text = format!("{function:?}, norm {norm:?}, affine {affine}, label {label}");
                near(&got, &y, SUMS, &text);
                // Products of three numbers of order three, summed over at most 432 entries; the kinks of relu are not near.
                let (some, rest) = in_parts(&g, device);
                for parts in [Parts(&g, None), Parts(&some, Some(&rest))] {
                    let (of_x, total) = o.back(&x, &what, &kept, parts, true).unwrap();
                    near(&of_x, gx, 1e-5, &text);
                    near(&total.unwrap(), &g, SUMS, &text);
                    assert!(o.back(&x, &what, &kept, parts, false).unwrap().1.is_none());
                }
                let got = o.affine_back(&x, &what, &kept, &g).unwrap();
                assert_eq!(got.dims(), [2, b, c]);
                if let (Some(g2), Some(s2)) = (&gain2, &shift2) {
                    for (i, part) in [g2, s2].into_iter().enumerate() {
                        near(&got.get(i).unwrap(), grads.get(part).unwrap(), 1e-5, &text);
                    }
                }
            }
        }
    }
});

on_devices!(softmax_both_ways, |o, device| {
    let o = o.softmax.as_ref().unwrap();
    for width in [1, 5, 64, 300] {
        let x = Var::from_tensor(&normal("scores", &[2, 3, width]).affine(4.0, 50.0).unwrap()).unwrap();
        let y = x.as_tensor().softmax_last().unwrap();
        let g = normal("gy", &[2, 3, width]);
        let gx = (&y * &g).unwrap().sum_all().unwrap().backward().unwrap().remove(&x).unwrap();
        let got = o.softmax(&on(&x, device)).unwrap().unwrap();
        // Scores of 66 at most have six digits behind the point in f32.
        near(&got, &y, 2e-5, &format!("width {width}"));
        near(&o.back(&got, &on(&g, device)).unwrap(), &gx, 2e-5, &format!("width {width}"));
    }
});

on_devices!(the_nearest_rows, |o, device| {
    let o = o.search.as_ref().unwrap();
    for (n, m, width) in [(1, 1, 1), (5, 40, 3), (17, 33, 50)] {
        let mut bank = normal("bank", &[m, width]);
        let x = normal("x", &[n, width]);
        if m > 20 {
            // A sample in the bank, twice: it stands first, or does not count.
            let first = x.narrow(0, 0, 1).unwrap();
            bank = Tensor::cat(&[&first, &bank.narrow(0, 1, m - 2).unwrap(), &first], 0).unwrap();
        }
        let (x, bank) = (on(&x, device), on(&bank, device));
        let all = x.unsqueeze(1).unwrap().broadcast_sub(&bank.unsqueeze(0).unwrap()).unwrap();
        let all = all.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap().sqr().unwrap();
        let all = all.sum(2).unwrap().sqrt().unwrap().to_vec2::<f64>().unwrap();
        for (k, exclude) in [(1, -1.0), (3, -1.0), (1, 0.0), (2, 1.5), (m, -1.0), (m + 1, -1.0)] {
            let got = o.nearest(&x, &bank, k, exclude).unwrap().unwrap();
            let (distance, row, counted) = (read(&got.distance), read(&got.row), read(&got.counted));
            for (i, all) in all.iter().enumerate() {
                let mut order: Vec<usize> = (0..m).filter(|&j| all[j] > exclude).collect();
                order.sort_by(|&a, &b| all[a].total_cmp(&all[b]));
                let what = format!("{n}, {m}, {width}, row {i}, k {k}, above {exclude}");
                assert_eq!(counted[i] as usize, order.len(), "{what}");
                match order.get(k - 1) {
                    Some(&j) => {
                        // Sums of at most fifty squares in f32.
                        assert!((distance[i] - all[j]).abs() < 3e-6 * all[j].max(1.0), "{what}");
                        assert_eq!(row[i] as usize, j, "{what}");
                    }
                    None => assert!(distance[i].is_nan() && row[i] == 0.0, "{what}"),
                }
            }
        }
    }
});

on_devices!(derivatives_of_norm_affine_and_function_along_a_direction, |o, device| {
    let o = o.tangents.as_ref().unwrap();
    let (b, c, h, w) = (2, 6, 5, 4);
    for function in FUNCTIONS {
        for norm in [None, Some((2, 1e-5)), Some((6, 1e-3))] {
            for affine in [false, true] {
                let var = |name: &str, shape: &[usize]| Var::from_tensor(&normal(name, shape)).unwrap();
                let (x, dx) = (var("x", &[b, c, h, w]), var("dx", &[b, c, h, w]));
                let (gain2, shift2) = (var("gain2", &[b, c]), var("shift2", &[b, c]));
                let (gain, shift) = (normal("gain", &[c]), normal("shift", &[c]));
                let mut y = Dual::new(x.as_tensor().clone(), dx.as_tensor().clone());
                if let Some((groups, e)) = norm {
                    y = layers::group_norm(&y, groups, e, None, None).unwrap();
                }
                let (each, wide) = ((b, c, 1, 1), (1, c, 1, 1));
                if affine {
                    y = y.times(&gain.reshape(wide).unwrap()).unwrap();
                    y = y.shift(&shift.reshape(wide).unwrap()).unwrap();
                }
                y = y.times(&gain2.reshape(each).unwrap()).unwrap();
                y = y.shift(&shift2.reshape(each).unwrap()).unwrap();
                if let Some(f) = function {
                    y = layers::activate(&y, f).unwrap();
                }
                let g = normal("g", &[b, c, h, w]);
                let grads = (y.tangent() * &g).unwrap().sum_all().unwrap().backward().unwrap();
                let there = |yes: bool, t: &Tensor| yes.then(|| on(t, device));
                let what = NormAct {
                    norm,
                    function,
                    gain: there(affine, &gain),
                    shift: there(affine, &shift),
                    gain2: there(true, &gain2),
                    shift2: there(true, &shift2),
                    skip: None,
                };
                let (x32, dx32, g32) = (on(&x, device), on(&dx, device), on(&g, device));
                let text = format!("{function:?}, norm {norm:?}, affine {affine}");
                let (dy, kept) = o.tangent(&x32, &what, &dx32).unwrap().unwrap();
                // Products of up to five numbers of order three, summed over at most 60 entries.
                near(&dy, y.tangent(), 1e-5, &text);
                let got = o.back(&x32, &what, &dx32, &kept, &g32, true).unwrap();
                let zero = |t: &Tensor| t.zeros_like().unwrap();
                for (got, of) in [(&got.x, &x), (&got.dx, &dx)] {
                    let want = grads.get(of).cloned().unwrap_or_else(|| zero(of));
                    near(got, &want, 2e-5, &text);
                }
                for (i, of) in [gain2, shift2].iter().enumerate() {
                    let want = grads.get(of).cloned().unwrap_or_else(|| zero(of));
                    near(&got.affine.as_ref().unwrap().get(i).unwrap(), &want, 2e-5, &text);
                }
            }
        }
    }
});

/// Every operation, with numbers that differ.
struct Mixed;

impl Formula<2, 3, 3> for Mixed {
    fn numbers(&self) -> [f64; 2] {
        [0.3, 1.7]
    }
    fn entry<E: Entry>([a, b]: [E; 2], [x, y, z]: [E; 3]) -> [E; 3] {
        let w = x * a + y / (z * z + b).sqrt();
        [w, b - w * y, z]
    }
}

on_devices!(programs_on_entries_have_the_bits_of_a_loop, |o, device| {
    let o = o.elementwise.as_ref().unwrap();
    let program = Elementwise::of::<Mixed, 2, 3, 3>();
    let [x, y, z] = ["x", "y", "z"].map(|name| on(&normal(name, &[4, 75]), device));
    // One of them not in one piece.
    let y = y.t().unwrap().contiguous().unwrap().t().unwrap();
    let got = o.map(&program, &Mixed.numbers(), &[&x, &y, &z]).unwrap().unwrap();
    let flat = |t: &Tensor| -> Vec<f32> { t.flatten_all().unwrap().to_vec1().unwrap() };
    let got: Vec<Vec<f32>> = got.iter().map(flat).collect();
    for (i, ((x, y), z)) in flat(&x).into_iter().zip(flat(&y)).zip(flat(&z)).enumerate() {
        let want = Mixed::entry([0.3f32, 1.7], [x, y, z]);
        assert_eq!(got.iter().map(|g| g[i].to_bits()).collect::<Vec<_>>(), want.map(f32::to_bits), "{i}");
    }
});

on_devices!(programs_that_are_too_long_or_read_what_is_not_there_are_not_covered, |o, device| {
    let o = o.elementwise.as_ref().unwrap();
    let x = on(&normal("x", &[5]), device);
    let program = Elementwise::of::<Mixed, 2, 3, 3>();
    assert!(o.map(&program, &[0.3, 1.7], &[&x, &x]).unwrap().is_none());
    let mut long = program.clone();
    (0..60).for_each(|_| long.steps.push(program.steps[0]));
    assert!(o.map(&long, &[0.3, 1.7], &[&x, &x, &x]).unwrap().is_none());
    let mut beyond = program;
    beyond.outputs[0] = ebm_core::operators::Place::Step(99);
    assert!(o.map(&beyond, &[0.3, 1.7], &[&x, &x, &x]).unwrap().is_none());
});
