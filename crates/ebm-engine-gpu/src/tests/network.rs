//! A whole network, whose layers ask for the operators, on each device there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use ebm_core::backend::Backend;
use ebm_core::operators::{Convolution, ConvolutionOps, Operators, Pass, install, operators, walk};
use ebm_core::plan::{Activation, Pool, Products};
use ebm_core::{
    Batch, BuildCx, EnergyFn, EnergySpec, Key, ParamSet, Result, RowProgram, RowStep, Slope, ThetaGrad,
    WeightFn,
};
use ebm_nn::{Conv, NetBuilder};

use super::convolutions::Stand;
use super::host::installed;
use super::{gpu, near, normal, on, read};

/// A network with all that is fused: bias and function, norm and label and function, pooling.
fn network(dtype: DType, device: &Device) -> Arc<dyn EnergyFn> {
    network_in(Products::Full, dtype, device)
}

fn network_in(products: Products, dtype: DType, device: &Device) -> Arc<dyn EnergyFn> {
    let mut cx = BuildCx::new(&[2, 9, 8], dtype, device, Key::root(3)).with_condition(3);
    cx = cx.with_products(products);
    let mut net = NetBuilder::new(&mut cx);
    net.conv("one", Conv::new(6, 3)).unwrap().activate(Activation::Swish).unwrap();
    // As many channels again: a convolution left out would not show in any shape.
    net.conv("again", Conv::new(6, 3)).unwrap().activate(Activation::Tanh).unwrap();
    net.pool(Pool::Average3).unwrap();
    net.conv("two", Conv::new(8, 3).stride(2)).unwrap();
    net.norm("norm", 4).unwrap();
    net.label("label", 3).unwrap().activate(Activation::Softplus).unwrap();
    // A residual block, and a sum without a function in between.
    let skip = net.here();
    net.conv("four", Conv::new(8, 3)).unwrap().norm("norm4", 8).unwrap().activate(Activation::Swish).unwrap();
    net.add(skip).unwrap();
    net.conv("five", Conv::new(8, 3)).unwrap().add(skip).unwrap();
    net.attention("attention").unwrap();
    net.conv("three", Conv::new(4, 3)).unwrap();
    net.label("label2", 3).unwrap();
    net.flatten().unwrap().linear("head", 1).unwrap().term("energy");
    net.finish().unwrap()
}

/// Gives both the same parameters, with attention that does something.
fn alike(there: &dyn EnergyFn, here: &dyn EnergyFn, device: &Device) {
    // From 0, where attention does nothing.
    there.params().set("attention.gamma", &Tensor::new(&[0.7f32], device).unwrap()).unwrap();
    for name in here.params().names() {
        let value = there.params().get(name).unwrap().to_device(&Device::Cpu).unwrap();
        here.params().set(name, &value.to_dtype(DType::F64).unwrap()).unwrap();
    }
}

/// Slopes with factors or images rounded, against f64. What the rounding of each value does to the end is no more than a share of the whole
/// that grows with the root of the number of layers: some twelve here, each with three values rounded to `digits` bits.
fn rounded_slopes(products: Products, digits: i32, device: &Device) {
    let (there, here) = (network_in(products, DType::F32, device), network(DType::F64, &Device::Cpu));
    alike(there.as_ref(), here.as_ref(), device);
    let x = on(&normal("sample", &[3, 2, 9, 8]), &Device::Cpu).to_dtype(DType::F64).unwrap();
    let cond = Tensor::new(&[[0.2, 0.8, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], &Device::Cpu).unwrap();
    let at = Batch::new(x.clone()).unwrap().with_cond(Some(cond.clone()));
    let at32 = Batch::new(on(&x, device)).unwrap().with_cond(Some(on(&cond, device)));
    let (a, b) = (there.slope(&at32).unwrap(), here.slope(&at).unwrap());
    let bound = 36f64.sqrt() * 2f64.powi(-digits);
    near(&a.energy, &b.energy, bound, "energies");
    // As a share of the largest: `near` takes at least 1.
    let most = read(&b.grad).iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let share = |t: &Tensor| t.affine(1.0 / most, 0.0).unwrap();
    near(&share(&a.grad), &share(&b.grad), bound, "slope");
    // Rounding is seen at all.
    assert!(read(&share(&a.grad)).iter().zip(read(&share(&b.grad))).any(|(a, b)| (a - b).abs() > 1e-5));
}

#[test]
fn slopes_with_images_in_bfloat16() {
    let Some((_alone, launched)) = installed(true) else { return };
    rounded_slopes(Products::Bf16, 8, &Device::Cpu);
    let launched = launched.lock().unwrap();
    let all = "last_enter_b1 last_leave_b1 last_norm_act_b8 last_norm_act_back_b8 last_norm_act_b1 last_pool_b1 attention_b1 attention_keys_b1";
    for kernel in all.split(' ') {
        assert!(launched.contains(kernel), "{kernel} was not used: {launched:?}");
    }
}

/// Gradients of the parameters with factors rounded to bfloat16, against f64; the rounding as in [`rounded_slopes`], with half as many roundings
/// again for the mixed derivative, whose tangents are rounded too. Only convolutions': those of attention's maps and of
/// gains are differences of larger numbers, of which rounding is a larger share.
fn rounded_gradients(device: &Device) {
    let (there, here) = (network_in(Products::Bf16, DType::F32, device), network(DType::F64, &Device::Cpu));
    alike(there.as_ref(), here.as_ref(), device);
    let x = on(&normal("sample", &[3, 2, 9, 8]), &Device::Cpu).to_dtype(DType::F64).unwrap();
    let cond = Tensor::new(&[[0.2, 0.8, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], &Device::Cpu).unwrap();
    let at = Batch::new(x.clone()).unwrap().with_cond(Some(cond.clone()));
    let at32 = Batch::new(on(&x, device)).unwrap().with_cond(Some(on(&cond, device)));
    let v = normal("direction", &[3, 2, 9, 8]);
    let ones = WeightFn::ones();
    let pairs = [
        ("gradient", there.grad_theta(&at32, &ones).unwrap(), here.grad_theta(&at, &ones).unwrap()),
        (
            "mixed derivative",
            there.grad_theta_slope(&at32, &on(&v, device)).unwrap(),
            here.grad_theta_slope(&at, &v).unwrap(),
        ),
    ];
    let bound = 54f64.sqrt() * 2f64.powi(-8);
    for (what, a, b) in pairs {
        for (name, g) in b.grads.iter().filter(|(name, g)| g.rank() == 4 && !name.contains("attention")) {
            let most = read(g).iter().fold(0.0f64, |m, v| m.max(v.abs()));
            let share = |t: &Tensor| t.affine(1.0 / most, 0.0).unwrap();
            near(&share(&a.grads[name]), &share(g), bound, &format!("{what} of {name}"));
        }
    }
}

#[test]
fn gradients_of_weights_in_bfloat16_with_channels_last() {
    let Some((_alone, launched)) = installed(true) else { return };
    rounded_gradients(&Device::Cpu);
    // No slope was taken, which would turn images too.
    let launched = launched.lock().unwrap();
    for kernel in ["last_enter_b1", "last_leave_b1"] {
        assert!(launched.contains(kernel), "{kernel} was not used: {launched:?}");
    }
}

/// Convolutions with channels last, without their gradients.
struct OneWay;

impl ConvolutionOps for OneWay {
    fn convolution(&self, what: Convolution, a: &Tensor, b: &Tensor) -> candle_core::Result<Option<Tensor>> {
        if what.pass == Pass::Forward { Stand.convolution(what, a, b) } else { Ok(None) }
    }
}

#[test]
fn gradients_that_a_device_does_not_take_go_with_channels_first() {
    let Some(_alone) = installed(true) else { return };
    let own = operators(&Device::Cpu).unwrap();
    let convolutions = Some(Arc::new(OneWay) as Arc<dyn ConvolutionOps>);
    install(&Device::Cpu, Operators { convolutions, ..(*own).clone() });
    rounded_gradients(&Device::Cpu);
}

#[test]
fn gradients_of_weights_in_bf16_on_a_gpu() {
    if let Some((_alone, device)) = gpu() {
        rounded_gradients(&device);
    }
}

#[test]
fn slopes_in_tf32_and_bf16_on_a_gpu() {
    if let Some((_alone, device)) = gpu() {
        rounded_slopes(Products::Bf16, 8, &device);
        crate::Cuda.round_products(true);
        rounded_slopes(Products::Full, 10, &device);
        crate::Cuda.round_products(false);
    }
}

/// All five calls of a network on `device`, whose operators are installed, against f64 without any.
fn five_calls(device: &Device) {
    let (there, here) = (network(DType::F32, device), network(DType::F64, &Device::Cpu));
    alike(there.as_ref(), here.as_ref(), device);
    let cond = Tensor::new(&[[0.2, 0.8, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], &Device::Cpu).unwrap();
    let x = on(&normal("sample", &[3, 2, 9, 8]), &Device::Cpu).to_dtype(DType::F64).unwrap();
    let at = Batch::new(x.clone()).unwrap().with_cond(Some(cond.clone()));
    let at32 = Batch::new(on(&x, device)).unwrap().with_cond(Some(on(&cond, device)));
    let v = normal("direction", &[3, 2, 9, 8]);
    let v32 = on(&v, device);
    assert!(there.engine().starts_with("graph with "), "{}", there.engine());
    // f32 through three layers of some dozen products each. cuDNN may choose Winograd's form for f32, whose rounding is ten times that of
    // direct sums and more (Lavin, Gray 2016).
    let bound = if device.is_cpu() { 2e-5 } else { 2e-4 };
    near(&there.terms(&at32).unwrap(), &here.terms(&at).unwrap(), bound, "terms");
    let (a, b) = (there.slope(&at32).unwrap(), here.slope(&at).unwrap());
    near(&a.energy, &b.energy, bound, "energies");
    near(&a.grad, &b.grad, bound, "slope");
    let ones = WeightFn::ones();
    let pairs = [
        (there.grad_theta(&at32, &ones).unwrap(), here.grad_theta(&at, &ones).unwrap()),
        (there.grad_theta_slope(&at32, &v32).unwrap(), here.grad_theta_slope(&at, &v).unwrap()),
    ];
    for (a, b) in pairs {
        // What a derivative does not depend on is left out by tensor operations, and zero by kernels.
        let zero = |name: &String| read(&a.grads[name]).iter().all(|v| *v == 0.0);
        assert!(a.grads.keys().all(|name| b.grads.contains_key(name) || zero(name)));
        for (name, g) in &b.grads {
            near(&a.grads[name], g, bound, name);
        }
    }
    near(&there.hvp(&at32, &v32).unwrap(), &here.hvp(&at, &v).unwrap(), bound, "hvp");
    // A walk against the same steps by tensor operations in f64, with the same noise.
    for noise_first in [true, false] {
        let step = RowStep {
            step_size: 0.5,
            noise: 0.05,
            noise_first,
            clamp: Some((-1.5, 1.5)),
            move_limit: Some(0.4),
        };
        let key = Key::root(8).at("walk");
        let walked = walk(there.as_ref(), &at32, &RowProgram::new(vec![step; 4]), key).unwrap().unwrap();
        let (mut at, mut energies, mut squares, mut last) = (at.clone(), vec![], vec![], None);
        for k in 0..4 {
            let mut eps = vec![0f32; 3 * 144];
            key.at(k as usize).fill_normal_rows(at.chains.ids(), 144, &mut eps);
            let eps =
                Tensor::from_vec(eps, (3, 2, 9, 8), &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
            let eps = eps.affine(0.05, 0.0).unwrap();
            let hat = if noise_first { (&at.x + &eps).unwrap() } else { at.x.clone() };
            let slope = here.slope(&at.with_x(hat.clone())).unwrap();
            let mut y = (&hat - slope.grad.affine(0.5, 0.0).unwrap().clamp(-0.4, 0.4).unwrap()).unwrap();
            if !noise_first {
                y = (y + eps).unwrap();
            }
            at = at.with_x(y.clamp(-1.5, 1.5).unwrap());
            squares.push(slope.grad.sqr().unwrap().flatten_from(1).unwrap().mean(1).unwrap());
            energies.push(slope.energy);
            last = Some((hat, slope.grad));
        }
        let (hat, grad) = last.unwrap();
        // Four slopes one upon the other.
        let bound = 5.0 * bound;
        near(&walked.x, &at.x, bound, "walk");
        near(&walked.hat, &hat, bound, "hat");
        near(&walked.grad, &grad, bound, "gradient");
        near(&walked.energy, &Tensor::stack(&energies, 0).unwrap(), bound, "energies of a walk");
        near(&walked.grad_square, &Tensor::stack(&squares, 0).unwrap(), bound, "squares of a walk");
    }
}

#[test]
fn five_calls_of_a_network_by_kernels_of_the_host() {
    let Some((_alone, launched)) = installed(false) else { return };
    five_calls(&Device::Cpu);
    let launched = launched.lock().unwrap();
    let all = "norm_act norm_act_back norm_act_affine norm_act_tangent norm_act_tangent_back norm_act_tangent_affine pool pool_back softmax softmax_back add_noise row_advance row_mean_square log_step";
    for kernel in all.split(' ') {
        assert!(launched.contains(kernel), "{kernel} was not used: {launched:?}");
    }
}

#[test]
fn five_calls_of_a_network_with_channels_last() {
    let Some((_alone, launched)) = installed(true) else { return };
    five_calls(&Device::Cpu);
    let launched = launched.lock().unwrap();
    // Channels in packs and, of the three-channel image, one by one.
    let all = "last_enter_f1 last_leave_f1 last_norm_act_f1 last_norm_act_back_f1 last_norm_act_f4 last_norm_act_back_f4 \
               last_pool_f1 last_pool_back_f1 attention_f1 attention_queries_f1 attention_keys_f1 norm_act_tangent";
    for kernel in all.split_whitespace() {
        assert!(launched.contains(kernel), "{kernel} was not used: {launched:?}");
    }
}

#[test]
fn five_calls_of_a_network_on_a_gpu() {
    if let Some((_alone, device)) = gpu() {
        five_calls(&device);
        #[cfg(feature = "cuda")]
        assert!(
            crate::cuda::graph::PLAYED.load(std::sync::atomic::Ordering::Relaxed) > 0,
            "no step was recorded"
        );
    }
}

/// `½|x|²`, whose slope is the samples themselves, in the same memory.
struct Bowl(EnergySpec, ParamSet);

impl EnergyFn for Bowl {
    fn spec(&self) -> &EnergySpec {
        &self.0
    }
    fn params(&self) -> &ParamSet {
        &self.1
    }
    fn terms(&self, at: &Batch) -> Result<Tensor> {
        Ok(at.x.sqr()?.sum_keepdim(1)?.affine(0.5, 0.0)?)
    }
    fn slope(&self, at: &Batch) -> Result<Slope> {
        Ok(Slope { energy: self.energy(at)?, grad: at.x.clone() })
    }
    fn grad_theta(&self, at: &Batch, _: &WeightFn<'_>) -> Result<ThetaGrad> {
        Ok(ThetaGrad { terms: self.terms(at)?, grads: BTreeMap::new() })
    }
    fn grad_theta_slope(&self, at: &Batch, _: &Tensor) -> Result<ThetaGrad> {
        Ok(ThetaGrad { terms: self.terms(at)?, grads: BTreeMap::new() })
    }
    fn hvp(&self, _: &Batch, v: &Tensor) -> Result<Tensor> {
        Ok(v.clone())
    }
}

/// Steps without noise halve the samples; what is logged of a step is what was before it.
fn halving(device: &Device) {
    let bowl = Bowl(EnergySpec::new(&[3], &["bowl"]), ParamSet::default());
    let x = Tensor::new(&[[1f32, 2.0, 2.0], [0.0, 3.0, 0.0]], device).unwrap();
    let step = RowStep { step_size: 0.5, noise: 0.0, noise_first: false, clamp: None, move_limit: None };
    let at = Batch::new(x.clone()).unwrap();
    let walked = walk(&bowl, &at, &RowProgram::new(vec![step; 5]), Key::root(1)).unwrap().unwrap();
    assert_eq!(read(&walked.x), read(&x.affine(1.0 / 32.0, 0.0).unwrap()));
    let quarters = |k: i32| 0.25f64.powi(k);
    let squares: Vec<f64> = (0..5).flat_map(|k| [3.0 * quarters(k); 2]).collect();
    assert_eq!(read(&walked.grad_square), squares);
    let energies: Vec<f64> = (0..5).flat_map(|k| [4.5 * quarters(k); 2]).collect();
    assert_eq!(read(&walked.energy), energies);
    assert_eq!(read(&at.x), read(&x), "the start stays");
}

#[test]
fn a_slope_in_the_memory_of_the_samples() {
    let Some(_alone) = installed(false) else { return };
    halving(&Device::Cpu);
    if let Some((_alone, device)) = gpu() {
        halving(&device);
    }
}
