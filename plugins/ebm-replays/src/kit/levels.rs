//! Bytes in place of floats.

use ebm_core::Result;
use ebm_core::bounds::{at_most, clamped, smaller};
use ebm_core::candle::{DType, Tensor};

/// How bytes stand for values `u` in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Levels {
    pub low: f64,
    pub high: f64,
    /// Written as `floor(255 u)` but read as `(b + U)/256`: darkens by u/256 a trip.
    /// Otherwise written as `floor(256 u)`: a trip keeps the mean.
    pub published: bool,
    /// Read as `(256 − b) mod 256`.
    pub inverted: bool,
}

impl Levels {
    fn levels(&self) -> f64 {
        if self.published { 255.0 } else { 256.0 }
    }

    /// The byte of a value.
    pub fn write(&self, v: f32) -> u8 {
        let u = ((f64::from(v) - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        // The cast truncates; 256·1 saturates to 255.
        (u * self.levels()) as u8
    }

    /// The value of a byte, with noise in [0, 1).
    pub fn read(&self, b: u8, noise: f32) -> f32 {
        let b = if self.inverted { 0u8.wrapping_sub(b) } else { b };
        let u = (f64::from(b) + f64::from(noise)) / 256.0;
        (self.low + u * (self.high - self.low)) as f32
    }

    /// [`Levels::write`] of all values of `x` in f32 by operations of its device, which need not have f64: U8.
    ///
    /// The same bytes for the range (0, 1). Scaling rounds for other ranges: a value within that of the border of two
    /// levels may be in either.
    pub fn write_all(&self, x: &Tensor) -> Result<Tensor> {
        let scale = 1.0 / (self.high - self.low);
        let u = clamped(&x.affine(scale, -self.low * scale)?, 0.0, 1.0)?;
        // 256 u has no rounding, and 255 u is never rounded up to a whole number k: 255 times the largest f32 below k/255 is
        // k − k/2²⁴, more than half a step of f32 below k.
        let b = at_most(&u.affine(self.levels(), 0.0)?.floor()?, 255.0)?;
        Ok(b.to_dtype(DType::U8)?)
    }

    /// [`Levels::read`] of all bytes `b` in f32 by operations of their device, with noise of their shape.
    ///
    /// The same bits for the range (0, 1): of the 32 bits of `b + noise` both keep 24, rounded once, and 256 is a power of two.
    /// For other ranges the scaled value and the sum with `low` are rounded too.
    pub fn read_all(&self, b: &Tensor, noise: &Tensor) -> Result<Tensor> {
        let mut b = b.to_dtype(DType::F32)?;
        if self.inverted {
            // 256 − b, but 0 for 0, where alone 256 b is the smaller.
            b = smaller(&b.affine(-1.0, 256.0)?, &b.affine(256.0, 0.0)?)?;
        }
        Ok((b + noise)?.affine((self.high - self.low) / 256.0, self.low)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::Key;
    use ebm_core::candle::Device;

    use super::*;

    /// Random values in and around the range, and all borders of levels with their neighbours; operations are monotone,
    /// so what holds at the borders holds between them.
    fn values(low: f64, high: f64) -> Vec<f32> {
        let mut v = vec![0f32; 20_000];
        Key::root(3).fill_uniform(0, &mut v);
        v.iter_mut().for_each(|v| *v = 1.2 * *v - 0.1);
        for levels in [255.0, 256.0] {
            let borders = (0..=256).map(|k| (f64::from(k) / levels) as f32);
            v.extend(borders.flat_map(|u| [u.next_down(), u, u.next_up()]));
        }
        v.into_iter().map(|u| (low + f64::from(u) * (high - low)) as f32).collect()
    }

    fn tensor(v: &[f32]) -> Tensor {
        Tensor::new(v, &Device::Cpu).unwrap()
    }

    fn all() -> [Levels; 4] {
        [(false, false), (false, true), (true, false), (true, true)].map(|(published, inverted)| Levels {
            low: 0.0,
            high: 1.0,
            published,
            inverted,
        })
    }

    #[test]
    fn tensors_of_the_unit_range_have_the_bytes_and_bits_of_numbers() {
        let v = values(0.0, 1.0);
        let mut noise = vec![0f32; 256 * 200];
        Key::root(4).fill_uniform(0, &mut noise);
        let bytes: Vec<u8> = (0..noise.len()).map(|i| (i % 256) as u8).collect();
        for levels in all() {
            let want: Vec<u8> = v.iter().map(|v| levels.write(*v)).collect();
            assert!(want.contains(&0) && want.contains(&255));
            assert_eq!(levels.write_all(&tensor(&v)).unwrap().to_vec1::<u8>().unwrap(), want, "{levels:?}");
            let want: Vec<f32> = bytes.iter().zip(&noise).map(|(b, u)| levels.read(*b, *u)).collect();
            let b = Tensor::new(bytes.as_slice(), &Device::Cpu).unwrap();
            let got = levels.read_all(&b, &tensor(&noise)).unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(got, want, "{levels:?}");
        }
    }

    #[test]
    fn tensors_of_other_ranges_agree_to_rounding() {
        for (low, high) in [(-1.0, 1.0), (0.0, 255.0), (-0.7, 2.3)] {
            let v = values(low, high);
            let mut noise = vec![0f32; v.len()];
            Key::root(4).fill_uniform(0, &mut noise);
            for levels in all().map(|l| Levels { low, high, ..l }) {
                let got = levels.write_all(&tensor(&v)).unwrap().to_vec1::<u8>().unwrap();
                // Factor, product, shift and sum are rounded, each by half an ulp of the larger bound at most: the byte is that
                // of a value as near as this, with as much again for the rounding of `near` itself.
                let ulp = f64::from(f32::EPSILON) * low.abs().max(high.abs());
                for (v, b) in v.iter().zip(&got) {
                    let near = |e: f64| levels.write((f64::from(*v) + e) as f32);
                    assert!((near(-4.0 * ulp)..=near(4.0 * ulp)).contains(b), "{v}: {b}");
                }
                let b = Tensor::new(got.as_slice(), &Device::Cpu).unwrap();
                let read = levels.read_all(&b, &tensor(&noise)).unwrap().to_vec1::<f32>().unwrap();
                for ((b, u), x) in got.iter().zip(&noise).zip(read) {
                    // Roundings of b + u, the factor, the product, the sum, each half an ulp of at most the width or the larger bound.
                    let limit = 2.0 * f64::from(f32::EPSILON) * (high - low).max(low.abs()).max(high.abs());
                    assert!((f64::from(x) - f64::from(levels.read(*b, *u))).abs() <= limit, "{b}, {u}: {x}");
                }
            }
        }
    }
}
