//! Samples of which a part is given: masked pixels, the grey of a coloured image.

use candle_core::Tensor;

use super::pull_back::Map;
use crate::{Error, Result};

/// The affine map that puts what is given into a sample: `E(g(x))` is then the energy of the rest alone, `exp(−E(g(x)))` its
/// conditional density, and every sampler of energies samples it. The coordinates that are given do not matter to it:
/// apply the map once more to the result.
///
/// Inpainting gives pixels, colourisation gives the mean over the channels.
#[derive(Debug)]
pub struct Given {
    shape: Vec<usize>,
    /// 1 where something is given; `(1, ...)`, all channels alike for grey.
    mask: Tensor,
    /// What is given where the mask is 1; else 0; `(1, ...)`.
    values: Tensor,
    grey: bool,
}

impl Given {
    /// The entries of `values` (shape of one sample) where `mask` (the same shape, 0 or 1) is 1.
    ///
    /// # Errors
    /// If the shapes differ or an operation fails.
    pub fn values(values: &Tensor, mask: &Tensor) -> Result<Self> {
        Self::new(values, mask, false)
    }

    /// The mean over the channels of `values` `(C, H, W)` where `mask` (the same shape, all channels alike) is 1.
    ///
    /// # Errors
    /// If the samples are no images, the shapes differ or an operation fails.
    pub fn grey(values: &Tensor, mask: &Tensor) -> Result<Self> {
        if values.rank() != 3 {
            return Err(Error::shape("given grey", values.dims(), "(C, H, W)", "only images have a grey"));
        }
        let mean = values.mean_keepdim(0)?.broadcast_as(values.dims())?.contiguous()?;
        Self::new(&mean, mask, true)
    }

    fn new(values: &Tensor, mask: &Tensor, grey: bool) -> Result<Self> {
        if values.dims() != mask.dims() {
            return Err(Error::shape(
                "given mask",
                mask.dims(),
                format!("{:?}", values.dims()),
                "values and mask are of one shape, that of a sample",
            ));
        }
        let mask = mask.to_dtype(values.dtype())?;
        Ok(Given {
            shape: values.dims().to_vec(),
            values: (values * &mask)?.unsqueeze(0)?,
            mask: mask.unsqueeze(0)?,
            grey,
        })
    }

    /// The part of `v` that is free, `(n, ...)`: an orthogonal projection, so its own transpose.
    fn free(&self, v: &Tensor) -> Result<Tensor> {
        let mask = self.mask.to_dtype(v.dtype())?;
        let fixed = match self.grey {
            true => v.mean_keepdim(1)?.broadcast_as(v.dims())?.broadcast_mul(&mask)?,
            false => v.broadcast_mul(&mask)?,
        };
        Ok((v - fixed)?)
    }
}

impl Map for Given {
    fn input_shape(&self) -> &[usize] {
        &self.shape
    }

    fn output_shape(&self) -> &[usize] {
        &self.shape
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.free(x)?.broadcast_add(&self.values.to_dtype(x.dtype())?)?)
    }

    fn jvp(&self, _: &Tensor, v: &Tensor) -> Result<Tensor> {
        self.free(v)
    }

    fn vjp(&self, _: &Tensor, u: &Tensor) -> Result<Tensor> {
        self.free(u)
    }
}

/// A mask `(C, H, W)` that is 1 outside of the rectangle of `height × width` at row `top`, column `left`.
///
/// # Errors
/// If the tensor cannot be made.
pub fn outside(shape: &[usize; 3], top: usize, left: usize, height: usize, width: usize) -> Result<Tensor> {
    let [c, h, w] = *shape;
    let hole = |y: usize, x: usize| {
        (top..top.saturating_add(height)).contains(&y) && (left..left.saturating_add(width)).contains(&x)
    };
    let one = (0..h * w).map(|i| if hole(i / w.max(1), i % w.max(1)) { 0f32 } else { 1.0 });
    let plane: Vec<f32> = one.collect();
    Ok(Tensor::from_vec(plane.repeat(c), (c, h, w), &candle_core::Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::Device;

    use super::*;

    fn t(v: &[f64], shape: &[usize]) -> Tensor {
        Tensor::from_slice(v, shape, &Device::Cpu).unwrap()
    }

    fn flat(t: &Tensor) -> Vec<f64> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn what_is_given_is_put_in_and_the_rest_stays() {
        let given = Given::values(&t(&[5.0, 6.0], &[2]), &t(&[0.0, 1.0], &[2])).unwrap();
        let x = t(&[1.0, 2.0, 3.0, 4.0], &[2, 2]);
        assert_eq!(flat(&given.apply(&x).unwrap()), [1.0, 6.0, 3.0, 6.0]);
        assert_eq!(flat(&given.vjp(&x, &x).unwrap()), [1.0, 0.0, 3.0, 0.0]);
        // A second time changes nothing.
        let once = given.apply(&x).unwrap();
        assert_eq!(flat(&given.apply(&once).unwrap()), flat(&once));
    }

    #[test]
    fn a_given_grey_leaves_the_colour() {
        let image = t(&[0.2, 0.4, 0.6], &[3, 1, 1]);
        let given = Given::grey(&image, &t(&[1.0; 3], &[3, 1, 1])).unwrap();
        let x = t(&[1.0, 0.0, 0.2], &[1, 3, 1, 1]);
        let y = flat(&given.apply(&x).unwrap());
        // The mean becomes 0.4 and differences between the channels stay.
        for (y, want) in y.iter().zip([1.0, 0.0, 0.2]) {
            assert!((y - want).abs() < 1e-15, "{y} {want}");
        }
        let z = flat(&given.apply(&t(&[0.0, 0.0, 0.3], &[1, 3, 1, 1])).unwrap());
        assert!((z.iter().sum::<f64>() / 3.0 - 0.4).abs() < 1e-15 && (z[2] - z[0] - 0.3).abs() < 1e-15);
        assert!(Given::grey(&t(&[0.0], &[1]), &t(&[0.0], &[1])).is_err());
        assert!(Given::values(&t(&[0.0], &[1]), &t(&[0.0, 1.0], &[2])).is_err());
    }

    #[test]
    fn a_hole_is_zero_in_all_channels() {
        let mask = outside(&[2, 3, 4], 1, 2, 1, 9).unwrap();
        let flat: Vec<f32> = mask.flatten_all().unwrap().to_vec1().unwrap();
        let holes: Vec<usize> = (0..flat.len()).filter(|i| flat[*i] == 0.0).collect();
        assert_eq!(holes, [6, 7, 18, 19]);
    }
}
