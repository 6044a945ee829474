//! Sequences and windows: convolution along one axis, and the largest entry of each window of an image.

use candle_core::Tensor;
use ebm_core::{Diff, Error, Result};

use super::rows::max_last;

/// `w ⋆ x + b` along one axis: `x` `(B, C, L)`, `w` `(O, C, K)`, `b` `(O,)`; result `(B, O, L')` with
/// `L' = (L + 2·padding − K)/stride + 1`, rounded down.
///
/// candle's own `conv1d` has a wrong gradient for some strides and paddings; this is a product with the windows laid out.
///
/// # Errors
/// If the shapes do not fit, or no window does.
pub fn conv1d<V: Diff>(x: &V, w: &Tensor, b: Option<&Tensor>, stride: usize, padding: usize) -> Result<V> {
    let ((_, c, l), (o, wc, k)) = (x.value().dims3()?, w.dims3()?);
    if c != wc || stride == 0 || k == 0 || l + 2 * padding < k {
        return Err(Error::shape(
            "conv1d",
            x.value().dims(),
            format!("(B, {wc}, L) with L + 2·{padding} at least {k}, and a stride of at least 1"),
            "weights are (out, in, taps)",
        ));
    }
    let length = (l + 2 * padding - k) / stride + 1;
    let y = x.linear(|t| {
        let batch = t.dims()[0];
        let padded = t.pad_with_zeros(2, padding, padding)?;
        let places: Vec<u32> = (0..length).map(|i| (i * stride) as u32).collect();
        let places = Tensor::new(places, t.device())?;
        let taps: Vec<Tensor> = (0..k)
            .map(|tap| {
                padded.narrow(2, tap, (length - 1) * stride + 1)?.contiguous()?.index_select(&places, 2)
            })
            .collect::<candle_core::Result<_>>()?;
        // (B, C, L', K) to a row for each window.
        let windows = Tensor::stack(&taps, 3)?.permute((0, 2, 1, 3))?.contiguous()?;
        let rows = windows.reshape((batch * length, c * k))?;
        let y = rows.matmul(&w.reshape((o, c * k))?.t()?.contiguous()?)?;
        y.reshape((batch, length, o))?.permute((0, 2, 1))?.contiguous()
    })?;
    match b {
        Some(b) => y.shift(&b.reshape((1, (), 1))?),
        None => Ok(y),
    }
}

/// The largest entry of each window of `size` × `size`, side by side: `(B, C, H, W)` to `(B, C, H/size, W/size)`, rounded down;
/// rows and columns beyond the last whole window are left out.
///
/// # Errors
/// If no window fits.
pub fn max_pool2d<V: Diff>(x: &V, size: usize) -> Result<V> {
    let (b, c, h, w) = x.value().dims4()?;
    let (rows, columns) = (h / size.max(1), w / size.max(1));
    if size == 0 || rows == 0 || columns == 0 {
        let wanted = format!("windows of at least 1 and at most {}, found {size}", h.min(w));
        return Err(Error::shape("max_pool2d", x.value().dims(), wanted, "take a smaller window"));
    }
    let windows = x.linear(|t| {
        let whole = t.narrow(2, 0, rows * size)?.narrow(3, 0, columns * size)?.contiguous()?;
        let split = whole.reshape(vec![b, c, rows, size, columns, size])?;
        split.permute(vec![0, 1, 2, 4, 3, 5])?.contiguous()?.reshape((b * c, rows * columns, size * size))
    })?;
    max_last(&windows)?.linear(|t| t.reshape((b, c, rows, columns)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{DType, Device};
    use ebm_core::{Autograd, Batch, Chains, EnergySpec, Forward, Key, ParamSet, Role, View};
    use ebm_testkit::check_energy;

    use super::*;

    struct Net(usize, usize);

    impl Forward for Net {
        fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
            let y = conv1d(x, p.get("w")?, Some(p.get("b")?), self.0, self.1)?;
            y.swish()?.flatten()?.square()?.sum_last()
        }
    }

    struct Pooled;

    impl Forward for Pooled {
        fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
            let y = max_pool2d(&x.times(&p.get("b")?.reshape((1, (), 1, 1))?)?, 2)?;
            y.swish()?.flatten()?.square()?.sum_last()
        }
    }

    fn random(seed: u64, dims: &[usize]) -> Tensor {
        Key::root(seed).normal(&Chains::range(0, dims[0]), &dims[1..], DType::F64, &Device::Cpu).unwrap()
    }

    #[test]
    fn all_five_calls_are_right_at_every_stride_and_padding() {
        let params = || {
            let one = |n: &str, t: Tensor| (n.to_string(), t, Role::Trainable);
            let b = random(2, &[1, 3]).squeeze(0).unwrap();
            ParamSet::new([one("w", random(1, &[3, 2, 3])), one("b", b)]).unwrap()
        };
        for (stride, padding) in [(1, 0), (1, 1), (2, 0), (2, 1), (3, 2)] {
            let e = Autograd::new("conv1d", Net(stride, padding), EnergySpec::new(&[2, 7], &["e"]), params());
            let found = check_energy(&e, &Batch::new(random(3, &[4, 2, 7])).unwrap());
            found.unwrap_or_else(|why| panic!("stride {stride}, padding {padding}: {why}"));
        }
        // A side that is no multiple of the window.
        let b = random(2, &[1, 3]).squeeze(0).unwrap();
        let params = ParamSet::new([("b".to_string(), b, Role::Trainable)]).unwrap();
        let e = Autograd::new("max", Pooled, EnergySpec::new(&[3, 5, 4], &["e"]), params);
        check_energy(&e, &Batch::new(random(3, &[2, 3, 5, 4])).unwrap()).unwrap();
    }

    #[test]
    fn a_convolution_by_hand() {
        let x = Tensor::new(&[[[1.0f64, 2.0, 3.0, 4.0]]], &Device::Cpu).unwrap();
        let w = Tensor::new(&[[[1.0f64, 10.0]]], &Device::Cpu).unwrap();
        let of = |stride, padding| {
            let y = conv1d(&x, &w, None, stride, padding).unwrap();
            y.flatten_all().unwrap().to_vec1::<f64>().unwrap()
        };
        assert_eq!(of(1, 0), [21.0, 32.0, 43.0]);
        assert_eq!(of(2, 1), [10.0, 32.0, 4.0]);
        assert!(conv1d(&x, &w, None, 0, 0).is_err());
    }
}
