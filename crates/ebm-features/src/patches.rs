//! Patches of images as rows, with a derivative: what a convolution is a matrix product of.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

/// `(B, C, H, W)` to `(B P, C k k)`, one row for each of the P places of a `k` x `k` window.
///
/// candle's own derivative of a convolution goes through a direct transposed convolution, several times slower on the
/// processor than two matrix products.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patches {
    pub size: usize,
    pub stride: usize,
    pub padding: usize,
}

impl Patches {
    /// Places along an axis of `len` pixels.
    pub fn places(&self, len: usize) -> usize {
        (len + 2 * self.padding).saturating_sub(self.size) / self.stride + 1
    }

    /// Calls `each(image offset, patch offset, length)` for each run of pixels that lies inside.
    fn walk(&self, (b, c, h, w): (usize, usize, usize, usize), mut each: impl FnMut(usize, usize, usize)) {
        let (k, rows, columns) = (self.size, self.places(h), self.places(w));
        let width = c * k * k;
        for image in 0..b {
            for i in 0..rows {
                for j in 0..columns {
                    let patch = ((image * rows + i) * columns + j) * width;
                    let left = (j * self.stride) as isize - self.padding as isize;
                    let (from, to) = ((-left).max(0) as usize, k.min((w as isize - left).max(0) as usize));
                    if from >= to {
                        continue;
                    }
                    for channel in 0..c {
                        for y in 0..k {
                            let row = (i * self.stride + y) as isize - self.padding as isize;
                            if row < 0 || row >= h as isize {
                                continue;
                            }
                            let at = ((image * c + channel) * h + row as usize) * w;
                            each(
                                (at as isize + left + from as isize) as usize,
                                patch + (channel * k + y) * k + from,
                                to - from,
                            );
                        }
                    }
                }
            }
        }
    }
}

impl CustomOp1 for Patches {
    fn name(&self) -> &'static str {
        "patches"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let dims = layout.shape().dims4()?;
        let (CpuStorage::F32(all), Some((from, to))) = (storage, layout.contiguous_offsets()) else {
            bail!("patches: wanted contiguous f32")
        };
        let image = &all[from..to];
        let shape = (dims.0 * self.places(dims.2) * self.places(dims.3), dims.1 * self.size * self.size);
        let mut out = vec![0f32; shape.0 * shape.1];
        self.walk(dims, |at, patch, n| out[patch..patch + n].copy_from_slice(&image[at..at + n]));
        Ok((CpuStorage::F32(out), shape.into()))
    }

    fn bwd(&self, arg: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let dims = arg.dims4()?;
        let back = Back { patches: *self, dims };
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(&back)?))
    }
}

/// The transpose of [`Patches`]: adds up what the patches of each pixel say.
struct Back {
    patches: Patches,
    dims: (usize, usize, usize, usize),
}

impl CustomOp1 for Back {
    fn name(&self) -> &'static str {
        "patches-back"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (CpuStorage::F32(all), Some((from, to))) = (storage, layout.contiguous_offsets()) else {
            bail!("patches-back: wanted contiguous f32")
        };
        let grad = &all[from..to];
        let (b, c, h, w) = self.dims;
        let mut out = vec![0f32; b * c * h * w];
        self.patches.walk(self.dims, |at, patch, n| {
            out[at..at + n].iter_mut().zip(&grad[patch..patch + n]).for_each(|(o, g)| *o += g);
        });
        Ok((CpuStorage::F32(out), self.dims.into()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn value_and_derivative_are_candles() {
        // Square images: candle's own derivative of a convolution takes no others.
        for (size, stride, padding, side) in [(3, 1, 1, 5), (5, 2, 2, 7), (3, 2, 1, 6), (2, 2, 0, 5)] {
            let (h, w) = (side, side);
            let x = Var::randn(0f32, 1.0, (2, 3, h, w), &Device::Cpu).unwrap();
            let k = Var::randn(0f32, 1.0, (4, 3, size, size), &Device::Cpu).unwrap();
            let want = x.conv2d(&k, padding, stride, 1, 1).unwrap();
            let p = Patches { size, stride, padding };
            let flat = x.apply_op1(p).unwrap();
            let rows = flat.matmul(&k.reshape((4, 3 * size * size)).unwrap().t().unwrap()).unwrap();
            let shape = (2, p.places(h) * p.places(w), 4);
            let found = rows.reshape(shape).unwrap().transpose(1, 2).unwrap().reshape(want.shape()).unwrap();
            let far = |a: &Tensor, b: &Tensor| {
                (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
            };
            // Sums of 75 products of numbers of size 1 in f32, in another order.
            assert!(far(&want, &found) < 1e-4);
            let (a, b) = (want.sqr().unwrap().backward().unwrap(), found.sqr().unwrap().backward().unwrap());
            for v in [&x, &k] {
                assert!(far(a.get(v).unwrap(), b.get(v).unwrap()) < 1e-2, "{size} {stride} {padding}");
            }
        }
    }

    #[test]
    fn the_derivative_is_the_transpose_on_any_image() {
        for (size, stride, padding, h, w) in [(3, 2, 1, 7, 4), (5, 2, 2, 3, 8), (3, 1, 0, 3, 5)] {
            let p = Patches { size, stride, padding };
            let x = Var::randn(0f32, 1.0, (2, 2, h, w), &Device::Cpu).unwrap();
            let rows = x.apply_op1(p).unwrap();
            let y = Tensor::randn(0f32, 1.0, rows.shape(), &Device::Cpu).unwrap();
            let product = (&rows * &y).unwrap().sum_all().unwrap();
            let back = product.backward().unwrap().get(&x).unwrap().clone();
            // ⟨P x, y⟩ = ⟨x, Pᵀ y⟩; sums of some hundred products in f32.
            let other = (back * x.as_tensor()).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            assert!((product.to_scalar::<f32>().unwrap() - other).abs() < 1e-3);
        }
    }
}
