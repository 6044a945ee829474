//! The operations that candle has on Metal against those that a training step needs there. No Metal is needed: what candle has stands in
//! `metal-operations.txt`, by the names of its kernels; what a step needs is listed here by hand, with where it does.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

const HAS: &str = include_str!("metal-operations.txt");

/// Kernel, and what asks for it. Images come out of permutations and slices, so forms for any strides are among them.
const NEEDED: [(&str, &str); 25] = [
    ("affine_f32", "every step of a sampler: x − size·g, scaled noise; decays of optimisers"),
    ("affine_f32_strided", "the same of a slice"),
    ("im2col_f32", "convolutions and their input gradients"),
    ("im2col_bf16", "the same with run.dtype = \"bf16\""),
    ("cast_f32_bf16", "factors of bf16 convolutions"),
    ("cast_bf16_f32", "their results"),
    ("cast_f32_bf16_strided", "weights after a flip"),
    ("cast_u8_f32", "bytes of a replay buffer, masks of comparisons"),
    ("cast_f32_u8", "samples on their way into it"),
    ("cast_u8_f32_strided", "masks that are slices"),
    ("cast_u32_f32", "counted neighbours"),
    ("cast_f32_u32", "classes and places"),
    ("cast_i64_f32", "labels"),
    ("where_u8_f32", "accepted or not, clamped or not, fresh or kept chains"),
    ("where_u8_u8", "the same of bytes"),
    ("gather_u32_f32", "softmax taken from its largest share; labels of rows"),
    ("gather_u32_u32", "places of places"),
    ("is_u32_f32", "rows of a batch, of a bank, of a buffer"),
    ("is_u32_u8", "rows of a buffer of bytes"),
    ("is_u32_u32", "rows of labels"),
    ("is_u32_i64", "rows of indices"),
    ("s_u32_f32", "rows of a buffer that are written over"),
    ("sa_u32_f32", "the gradient of a gather"),
    ("ia_u32_f32", "the gradient of rows that were selected"),
    ("ia_u32_u32", "how many of each"),
];

/// What a step would need if it were written otherwise, and does without: kernels that candle lacks, and what is done in their place.
const WITHOUT: [(&str, &str); 6] = [
    ("s_u32_u8", "bytes of a buffer are written row by row (ebm-replays, slots.rs)"),
    ("gather_u32_u8", "rows of bytes are selected (is_u32_u8), not gathered"),
    ("cast_f32_f64", "f64 is of the processor alone (ebm_core::host::wide, scripts/check-f64.sh)"),
    ("cast_f64_f32", "plain numbers are rounded before they go to a device (ebm_core::host::given)"),
    ("where_u8_f64", "a run in f64 is refused when the device opens (Backend::has_doubles)"),
    ("im2col_f64", "the same"),
];

fn has() -> BTreeSet<&'static str> {
    HAS.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn what_a_step_needs_is_there() {
    let has = has();
    assert!(has.len() > 100, "{} operations", has.len());
    for (kernel, what) in NEEDED {
        assert!(has.contains(kernel), "candle has no `{kernel}` on Metal, which is needed for: {what}");
    }
}

#[test]
fn what_a_step_does_without_is_still_not_there() {
    // Once it is, the way round can go.
    let has = has();
    for (kernel, instead) in WITHOUT {
        assert!(
            !has.contains(kernel),
            "candle has `{kernel}` on Metal now; what was done without it: {instead}"
        );
    }
}

#[test]
fn the_table_is_of_the_candle_that_is_used() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock"));
    // A published crate stands alone.
    let Ok(lock) = lock else { return println!("skipped: no Cargo.lock of the workspace") };
    let (_, rest) = lock.split_once("name = \"candle-core\"\nversion = \"").unwrap();
    let version = rest.split('"').next().unwrap();
    let wanted = format!("# candle-core {version},");
    assert!(HAS.starts_with(&wanted), "run scripts/metal-operations.py for candle-core {version}");
}
