//! Numbers that the tests and their scripts in Python both compute.

use ebm_eval::splitmix64;

/// In [-1, 1): 24 bits, from the FNV-1a hash of the name.
pub fn uniforms(name: &str, n: usize) -> Vec<f64> {
    let hash = name
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
    (0..n as u64).map(|i| (splitmix64(hash.wrapping_add(i)) >> 40) as f64 / 8_388_608.0 - 1.0).collect()
}
