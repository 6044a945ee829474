//! Bits in place of floats that take two values.

use ebm_core::{Error, Result};

/// Rows of `width` values, each one of `two`, as bits: value `i` of a row is bit `i mod 8` of its byte `i / 8`.
///
/// # Errors
/// If there is another value.
pub(crate) fn packed(values: &[f32], width: usize, two: [f32; 2]) -> Result<Vec<u8>> {
    if let Some(other) = values.iter().find(|v| !two.contains(v)) {
        let message = format!(
            "got a chain with the value {other}, and its samples are {} or {}; the sampler left their domain",
            two[0], two[1]
        );
        return Err(Error::config("replay", message));
    }
    let byte =
        |eight: &[f32]| eight.iter().enumerate().fold(0u8, |byte, (i, v)| byte | u8::from(*v == two[1]) << i);
    Ok(values.chunks(width.max(1)).flat_map(|row| row.chunks(8).map(byte)).collect())
}

/// The values of a row of bits.
pub(crate) fn unpack(bytes: &[u8], two: [f32; 2], row: &mut [f32]) {
    for (eight, byte) in row.chunks_mut(8).zip(bytes) {
        eight.iter_mut().enumerate().for_each(|(i, o)| *o = two[usize::from(byte >> i & 1)]);
    }
}
