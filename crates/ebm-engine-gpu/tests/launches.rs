//! What a Langevin step of the paper's network starts on a device, and how many bytes that moves: counted, not run.
//!
//! A device of the test's own writes down the launches of our kernels and of convolutions where others would run them; what is counted is
//! what a recording of the step would hold, for nothing in a step depends on a number. Bytes are those of the operands and results, each
//! once: what a kernel reads again comes out of a cache or does not, which no count tells. Whatever is left to candle is counted as the
//! tensors that it makes, views among them: at least as many as it launches.
#![allow(clippy::unwrap_used)]

mod convolution;
mod paper;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ebm_core::WeightFn;
use ebm_core::candle::{DType, Device, Result, Tensor};
use ebm_core::operators::{Convolution, ConvolutionOps, Operators, Order, Recording};
use ebm_core::plan::Products;
use ebm_engine_gpu::{Arg, Launcher, operators};

/// Samples of two batches: launches do not depend on them, and bytes are told of one sample more, so that weights do not count.
const SAMPLES: [usize; 2] = [2, 3];

/// Launches at most, those of candle among them, of a Langevin step of all three scales.
const MOST: usize = 300;

/// What such a step moved before images were kept in bfloat16 with their channels last, counted by this test: 39.85 MiB a sample, of which
/// 15.4 were casts around convolutions, and without what was left to candle (up to 410 launches) or transposed within cuDNN.
const BEFORE: usize = 41_780_000;

/// Launches by name with their bytes, while `counting`.
#[derive(Default)]
struct Count {
    counting: bool,
    of: BTreeMap<&'static str, (usize, usize)>,
    /// Tensors that our launches made.
    made: usize,
    /// Number of the first tensor made while counting, and of the one after the last.
    tensors: (usize, usize),
}

impl Count {
    fn add(&mut self, name: &'static str, bytes: usize, made: usize) {
        if self.counting {
            let entry = self.of.entry(name).or_default();
            entry.0 += 1;
            entry.1 += bytes;
            self.made += made;
        }
    }

    fn launches(&self) -> usize {
        self.of.values().map(|(n, _)| n).sum()
    }

    /// Tensors that candle made.
    fn other(&self) -> usize {
        (self.tensors.1 - self.tensors.0).saturating_sub(self.made)
    }
}

type Counted = Arc<Mutex<Count>>;

fn lock(count: &Counted) -> MutexGuard<'_, Count> {
    count.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of a tensor that is made now; numbers are given in order, whoever makes one.
fn next_tensor() -> usize {
    let text = format!("{:?}", Tensor::zeros(1, DType::U8, &Device::Cpu).unwrap().id());
    text.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

fn bytes(t: &Tensor) -> usize {
    t.elem_count() * t.dtype().size_in_bytes()
}

/// Convolutions of a pass for the gradients of weights, of a result, an image and a weight: the first convolution of each of three scales has an
/// image without a gradient.
const PASSES: [usize; 3] = [48, 45, 48];

/// Starts nothing: results are zeros.
struct Paper {
    last: bool,
    count: Counted,
}

impl Launcher for Paper {
    fn name(&self) -> &str {
        "a count of launches"
    }

    fn channels_last(&self, _: Products) -> bool {
        self.last
    }

    unsafe fn launch(&self, kernel: &'static str, _: u32, _: u32, args: &[Arg<'_>]) -> Result<()> {
        let (mut moved, mut made) = (0, 0);
        for arg in args {
            match arg {
                Arg::In(t) => moved += bytes(t),
                Arg::Out(t) => {
                    moved += bytes(t);
                    made += 1;
                    t.zero_set()?;
                }
                _ => {}
            }
        }
        lock(&self.count).add(kernel, moved, made);
        Ok(())
    }

    /// Of the second step, which a device would record: the first fills what is kept between steps.
    fn record(
        &self,
        _: &[usize],
        step: &mut dyn FnMut() -> ebm_core::Result<()>,
    ) -> ebm_core::Result<Option<Box<dyn Recording>>> {
        counted(&self.count, step)?;
        Ok(None)
    }
}

/// Convolutions of either order that are only counted.
struct Library {
    products: Products,
    count: Counted,
}

impl ConvolutionOps for Library {
    fn convolution(&self, what: Convolution, a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
        let y = convolution::result(what, a, b)?;
        let numbers = a.elem_count() + b.elem_count() + y.elem_count();
        let mut count = lock(&self.count);
        if self.products == Products::Bf16 && what.order == Order::ChannelsFirst {
            // A processor keeps rounded factors in f32; a device casts both, and the result back.
            count.add("convolution", 2 * numbers, 1);
            for t in [a, b, &y] {
                count.add("cast around a convolution", 6 * t.elem_count(), 0);
            }
        } else {
            count.add("convolution", bytes(a) + bytes(b) + bytes(&y), 1);
        }
        Ok(Some(y))
    }
}

/// What `work` starts.
fn counted(count: &Counted, work: &mut dyn FnMut() -> ebm_core::Result<()>) -> ebm_core::Result<()> {
    {
        let mut count = lock(count);
        count.counting = true;
        count.tensors.0 = next_tensor() + 1;
    }
    work()?;
    let mut count = lock(count);
    count.tensors.1 = next_tensor();
    count.counting = false;
    Ok(())
}

/// The device, and where it counts.
fn device(products: Products, last: bool) -> (Operators, Counted) {
    let count = Counted::default();
    let convolutions = Some(Arc::new(Library { products, count: count.clone() }) as Arc<dyn ConvolutionOps>);
    let own = operators(Paper { last, count: count.clone() });
    (Operators { convolutions, ..own }, count)
}

/// What is counted: the name, the products, and whether channels come last.
const TYPES: [(&str, Products, bool); 4] = [
    ("f32", Products::Full, false),
    ("tf32", Products::Full, true),
    ("bf16", Products::Bf16, true),
    ("bf16, channels first", Products::Bf16, false),
];

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Bytes of each kernel that `more` moves beyond `few`, which has a sample less; printed with how often each was started.
fn told(name: &str, few: &Count, more: &Count) -> BTreeMap<&'static str, usize> {
    let each: BTreeMap<_, _> = more.of.iter().map(|(k, (_, b))| (*k, b - few.of[k].1)).collect();
    let (own, other, bytes) = (few.launches(), few.other(), mib(each.values().sum()));
    println!("{name}: {own} launches, at most {other} more by candle, {bytes:.2} MiB a sample");
    for (kernel, bytes) in &each {
        println!("    {:4} {:8.3} MiB a sample  {kernel}", more.of[kernel].0, mib(*bytes));
    }
    each
}

/// One test at a time: the device is the processor's.
static ALONE: Mutex<()> = Mutex::new(());

/// A step of the network of the paper's CIFAR-10.
fn step(products: Products, last: bool, samples: usize) -> Count {
    let (own, count) = device(products, last);
    paper::walk_by(own, products, samples);
    std::mem::take(&mut *lock(&count))
}

/// Gradients of its weights.
fn weights(products: Products, last: bool, samples: usize) -> Count {
    let (own, count) = device(products, last);
    let (energy, at) = paper::network_by(own, products, samples);
    let gradients = || energy.grad_theta(&at, &WeightFn::ones());
    // What is kept between passes is made by the first.
    gradients().unwrap();
    counted(&count, &mut || gradients().map(|_| ())).unwrap();
    std::mem::take(&mut *lock(&count))
}

#[test]
fn gradients_of_the_papers_weights() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, products, last) in TYPES {
        let [few, more] = SAMPLES.map(|samples| weights(products, last, samples));
        told(name, &few, &more);
        let started = |kernel: &str| more.of.get(kernel).map_or(0, |(n, _)| *n);
        let [forward, image, weight] = PASSES;
        assert_eq!(started("convolution"), forward + image + weight, "{name}");
        // Where operands are cast anyway they are turned with it: an image and the gradient of a result once, although two passes read it. The
        // gradient of a weight is no image.
        let turns = usize::from(last && products == Products::Bf16);
        assert_eq!(started("last_enter_b1"), turns * (forward + weight), "{name}");
        assert_eq!(started("last_leave_b1"), turns * (forward + image), "{name}");
    }
}

#[test]
fn a_langevin_step_of_the_papers_network() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut moved = Vec::new();
    for (name, products, last) in TYPES {
        let [few, more] = SAMPLES.map(|samples| step(products, last, samples));
        let (own, other) = (few.launches(), few.other());
        let each = told(name, &few, &more);
        let bytes: usize = each.values().sum();
        let sums = each.get(&"elementwise").copied().unwrap_or(0);
        assert_eq!(own, more.launches(), "{name}: launches depend on the number of samples");
        if last || products == Products::Full {
            assert!(own + other <= MOST, "{name}: {own} launches and {other} by candle, at most {MOST}");
        }
        moved.push((bytes, sums));
    }
    // Halves of all numbers but the samples' own, and nothing cast or transposed. Sums of the scales were candle's before, and not counted.
    let (now, sums) = moved[2];
    let compared = now - sums;
    assert!(
        compared * 3 <= BEFORE,
        "bf16 moves {:.2} MiB, at most a third of {:.2}",
        mib(compared),
        mib(BEFORE)
    );
    assert!(now * 100 <= moved[1].0 * 52, "images in bf16 take more than half of those in f32: {moved:?}");
}
