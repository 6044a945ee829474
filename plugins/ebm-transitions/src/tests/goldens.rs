//! Pixels of the image operations against stored results of torchvision on bytes (scripts/make-augmentation-goldens.py).

#![allow(clippy::unwrap_used)]

use ebm_data::npy::NpyValues;
use ebm_data::npz::Npz;

use crate::blur::soften;
use crate::colour::{Blend, Recipe, distort};
use crate::crop::Part;
use crate::flip::{Axis, Flip};
use crate::kit::augment::tests::{Image, dice};
use crate::kit::look;

const FILE: &[u8] = include_bytes!("../../tests/golden/augment.npz");
const SIDE: usize = 32;

/// What our operation makes of `image`, and by how many levels of 255 a value and the mean value may be off.
///
/// The library works on bytes: every operation ends with a rounding (half a level) or cuts digits off (a level), some
/// round between passes; ours keep floats. So the numbers below are sums of the library's roundings.
fn ours(image: &Image, name: &str) -> (Image, f32, f32) {
    let mut words = name.split('/');
    let operation = words.next().unwrap();
    let numbers: Vec<f64> = words.map(|w| w.parse().unwrap()).collect();
    let whole = |i: usize| numbers[i] as usize;
    let blend = |blend: Blend| {
        let recipe = Recipe { before: vec![blend], ..Recipe::default() };
        image.through(|x| distort(x, &[recipe]))
    };
    match operation {
        "crop" => {
            let part = Part { top: whole(0), left: whole(1), height: whole(2), width: whole(3) };
            // Rounded after the pass along rows and again along columns.
            (image.through(|x| look(x, &[part.view(SIDE, SIDE)])), 1.01, 0.4)
        }
        "flip" => (image.changed(&Flip { probability: 1.0, axis: Axis::Horizontal }, dice(0)), 1e-4, 1e-4),
        "brightness" => {
            // Digits are cut off: a level.
            (blend(Blend::brightness(numbers[0] as f32)), 1.01, 0.6)
        }
        "contrast" => {
            // The mean is that of rounded lumas and rounded itself, times |1 - factor| of at most 1, and a level.
            (blend(Blend::contrast(numbers[0] as f32)), 1.51, 0.6)
        }
        "saturation" => {
            // Luma is rounded, times |1 - factor| of at most 1, and a level.
            (blend(Blend::saturation(numbers[0] as f32)), 1.51, 0.6)
        }
        "hue" => {
            let recipe = Recipe { turn: Some(numbers[0] as f32), ..Recipe::default() };
            // Hue is a byte: cut off in the image and in the shift, which wraps at 256 of 255, so up to three units,
            // each 6/255 of the span of the channels, up to six levels; saturation is cut to a byte, a level more.
            (image.through(|x| distort(x, &[recipe])), 19.0, 2.0)
        }
        "grey" => (blend(Blend::saturation(0.0)), 0.51, 0.3),
        "blur" => {
            // Rounded once, at the end.
            (image.through(|x| soften(x, whole(0), &[Some(numbers[1])])), 0.51, 0.3)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn pixels_are_those_of_torchvision_within_its_rounding() {
    let mut file = Npz::parse(FILE, "augment.npz").unwrap();
    let mut values = |name: &str| match file.array(name).unwrap().values() {
        NpyValues::U8(v) => v.iter().map(|b| f32::from(*b)).collect::<Vec<f32>>(),
        other => panic!("{other:?}"),
    };
    let start: Vec<f32> = values("image").iter().map(|v| v / 255.0).collect();
    assert_eq!(start.len(), 3 * SIDE * SIDE);
    let names = Npz::parse(FILE, "augment.npz").unwrap().names();
    assert_eq!(names.len(), 35);
    for name in names.iter().filter(|n| *n != "image") {
        let image = Image { channels: 3, height: SIDE, width: SIDE, data: start.clone() };
        let (image, most, mean) = ours(&image, name);
        let off: Vec<f32> =
            image.data.iter().zip(values(name)).map(|(got, want)| (got * 255.0 - want).abs()).collect();
        let worst = off.iter().fold(0f32, |a, b| a.max(*b));
        let average = off.iter().sum::<f32>() / off.len() as f32;
        println!("{name:<22} {worst:7.3} {average:7.3}");
        assert!(worst <= most && average <= mean, "{name}: off by {worst} at most, {average} on average");
    }
}
