//! Batches of images against each image alone, and images that stay as they are.

#![allow(clippy::unwrap_used)]

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Batch, BuildCx, ChainState, Chains, Key, TransitionConfig, host};
use ebm_testkit::{relative_gap, toy};

use crate::kit::augment::tests::dice;
use crate::kit::{Change, Dice};
use crate::{Axis, BlurConfig, ColourConfig, CropConfig, FlipConfig, SimclrConfig};

const IMAGES: usize = 24;

/// Whether an image with these dice is changed.
type Drawn<'a> = &'a dyn Fn(Dice) -> bool;

fn images(shape: &[usize], dtype: DType) -> Tensor {
    Key::root(4).uniform(&Chains::range(0, IMAGES), shape, dtype, &Device::Cpu).unwrap()
}

fn bits(t: &Tensor) -> Vec<u32> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

fn step(config: &dyn TransitionConfig, x: Tensor, chains: Chains) -> Tensor {
    let shape = x.dims()[1..].to_vec();
    let t = config.build(&mut BuildCx::new(&shape, x.dtype(), &Device::Cpu, Key::root(0))).unwrap();
    let at = Batch::new(x).unwrap().with_chains(chains);
    let e = toy::mlp_on(&shape, 2, 1, 1).unwrap();
    t.step(&e, &ChainState::new(at), Key::root(5)).unwrap().state.at.x
}

fn all() -> Vec<Box<dyn TransitionConfig>> {
    vec![
        Box::new(CropConfig { smallest_area: 0.08, aspect: 4.0 / 3.0 }),
        Box::new(FlipConfig { probability: 0.5, axis: Axis::Horizontal }),
        Box::new(FlipConfig { probability: 0.5, axis: Axis::Vertical }),
        Box::new(ColourConfig { strength: 1.0, probability: 0.8, grey: 0.2 }),
        Box::new(BlurConfig { kernel: 5, probability: 0.5 }),
        Box::new(SimclrConfig { smallest_area: 0.08, strength: 1.0, blur: 5, flip: true }),
    ]
}

#[test]
fn a_batch_is_its_images_alone() {
    for config in all() {
        // The last go in two portions.
        for shape in [[3, 8, 8], [3, 5, 9], [1, 6, 4], [2, 4, 4], [3, 40, 40]] {
            let x = images(&shape, DType::F32);
            let whole = step(&*config, x.clone(), Chains::range(0, IMAGES));
            for i in 0..IMAGES {
                let alone = step(&*config, x.narrow(0, i, 1).unwrap(), Chains::from_ids(vec![i as u64]));
                let gap = relative_gap(&alone, &whole.narrow(0, i, 1).unwrap()).unwrap();
                // Products of other sizes may add in another order.
                assert!(gap < 1e-6, "{config:?}, {shape:?}, image {i}: {gap}");
            }
        }
    }
}

#[test]
fn a_step_reads_nothing_and_gives_back_the_type() {
    for config in all() {
        for dtype in [DType::BF16, DType::F32, DType::F64] {
            let x = images(&[3, 6, 6], DType::F32).to_dtype(dtype).unwrap();
            let before = host::reads();
            assert_eq!(step(&*config, x, Chains::range(0, IMAGES)).dtype(), dtype);
            assert_eq!(host::reads(), before, "{config:?}");
        }
    }
}

#[test]
fn without_probability_the_bits_stay() {
    let none: [Box<dyn TransitionConfig>; 4] = [
        Box::new(CropConfig { smallest_area: 1.0, aspect: 1.0 }),
        Box::new(FlipConfig { probability: 0.0, axis: Axis::Horizontal }),
        Box::new(ColourConfig { strength: 1.0, probability: 0.0, grey: 0.0 }),
        Box::new(BlurConfig { kernel: 5, probability: 0.0 }),
    ];
    for config in none {
        let x = images(&[3, 7, 7], DType::F32);
        let y = step(&*config, x.clone(), Chains::range(0, IMAGES));
        assert_eq!(bits(&y), bits(&x), "{config:?}");
    }
}

/// In a batch of which some images are changed the others keep their bits.
#[test]
fn an_image_that_is_not_drawn_keeps_its_bits() {
    let blur = crate::blur::Blur { kernel: 5, probability: 0.5 };
    let flip = crate::flip::Flip { probability: 0.5, axis: Axis::Horizontal };
    let colour = crate::colour::Colour { strength: 1.0, probability: 0.5, grey: 0.2 };
    let drawn: [(&dyn Change, Drawn<'_>); 3] = [
        (&blur, &|d| d.at("blur").at("whether").hits(0.5)),
        (&flip, &|d| d.at("flip").hits(0.5)),
        (&colour, &|d| {
            let d = d.at("colour");
            d.at("jitter").hits(0.5) || d.at("grey").hits(0.2)
        }),
    ];
    let x = images(&[3, 6, 7], DType::F32);
    let dice: Vec<Dice> = (0..IMAGES as u64).map(dice).collect();
    for (change, is_drawn) in drawn {
        let y = change.change(&x, &dice).unwrap();
        let changed = dice.iter().filter(|d| is_drawn(**d)).count();
        assert!(changed > 4 && changed < IMAGES - 4, "{}: {changed}", change.name());
        for (i, d) in dice.iter().enumerate() {
            let same = bits(&x.get(i).unwrap()) == bits(&y.get(i).unwrap());
            assert_eq!(same, !is_drawn(*d), "{}, image {i}", change.name());
        }
    }
}
