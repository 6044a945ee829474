//! The four figures by which the image recipes are judged, in one call, with rows to read them against.

use serde::Serialize;

use crate::distances::frechet::{RIDGE, frechet};
use crate::distances::nearness::Nearness;
use crate::distances::perfect::{Fall, perfect};
use crate::error::{Result, at_least, same};
use crate::features::{pixels, signs};
use crate::numeric::splitmix::SplitMix;
use crate::samples::{Features, Samples};

/// How samples compare with held-out data. No figure suffices alone: a Gaussian with the data's moments has small
/// Fréchet distances and no readable image, a memorised training set is near everything.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ImageQuality {
    /// Fréchet distance to the held-out images on [`pixels`]; smaller is better.
    pub fd_pix: f64,
    /// Fréchet distance to the held-out images on [`signs`]; smaller is better.
    pub fd_sign: f64,
    /// Share of samples whose Euclidean distance to the nearest training image is at most the 95 % quantile of
    /// the held-out images' distances; about 0.95 for real data.
    pub near: f64,
    /// Exponential of the entropy of the labels of those nearest images: the number of classes if all are equally
    /// frequent. `None` without labels.
    pub classes: Option<f64>,
}

/// Measures `samples` (values in `[0, 1]`, square images of one or three channels, see [`pixels`]) against the
/// training images, their labels and held-out images of the same width.
///
/// Fréchet distances of few samples are biased upwards: compare runs of equal counts (the recipes: 360 samples,
/// all held-out digits, or the first 2,000 MNIST test images; the first 4,000 training images).
///
/// Errs if widths differ, the labels do not match `train`, a set has fewer than two images or `train` is empty.
pub fn image_quality(
    samples: Samples<'_>,
    train: Samples<'_>,
    train_labels: Option<&[u32]>,
    held: Samples<'_>,
) -> Result<ImageQuality> {
    same("width of the training images", train.d(), samples.d(), "the samples")?;
    same("width of the held-out images", held.d(), samples.d(), "the samples")?;
    at_least("samples", samples.n(), 2)?;
    at_least("held-out images", held.n(), 2)?;
    let reference = train.features();
    let (near, classes) =
        Nearness::new(&reference, train_labels, &held.features())?.of(&samples.features())?;
    Ok(ImageQuality {
        fd_pix: frechet(&pixels(samples)?, &pixels(held)?, RIDGE)?,
        fd_sign: frechet(&signs(samples)?, &signs(held)?, RIDGE)?,
        near,
        classes,
    })
}

/// What the figures of [`image_quality`] are for things that are not samples of a model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReferenceRows {
    /// Uniform noise in `[0, 1)` against the held-out images: the far end of the scale.
    pub noise: ImageQuality,
    /// One random half of the held-out images against the other (halves in file order would differ where a file is sorted,
    /// by writer in the UCI digits); the Fréchet distances carried to `n` samples against all held-out images: what
    /// perfect samples get. See [`perfect`].
    pub real: ImageQuality,
}

/// Both reference rows; `n` is the number of noise images (take the number of samples), `seed` theirs and that
/// of the halves.
///
/// Errs like [`image_quality`]; at least four held-out images are needed.
pub fn reference_rows(
    train: Samples<'_>,
    train_labels: Option<&[u32]>,
    held: Samples<'_>,
    n: usize,
    seed: u64,
) -> Result<ReferenceRows> {
    at_least("held-out images", held.n(), 4)?;
    let mut stream = SplitMix::new(seed);
    let noise: Vec<f32> = (0..n * held.d()).map(|_| stream.uniform() as f32).collect();
    let order = stream.permutation(held.n());
    let mixed: Vec<f32> = order.iter().flat_map(|&i| held.row(i).iter().copied()).collect();
    let mixed = Samples::new(&mixed, held.n(), held.d())?;
    let (first, second) = mixed.halves();
    let mut real = image_quality(second, train, train_labels, first)?;
    if held.n() >= 16 {
        let carried = |f: &Features| perfect(f, n, Fall::Inverse, seed, |a, b| frechet(a, b, RIDGE));
        (real.fd_pix, real.fd_sign) = (carried(&pixels(held)?)?, carried(&signs(held)?)?);
    }
    let noise = image_quality(Samples::new(&noise, n, held.d())?, train, train_labels, held)?;
    Ok(ReferenceRows { noise, real })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::goldens::{assert_close, images, labels};

    fn measured(side: usize, spread: f32) -> ImageQuality {
        let d = side * side;
        let (x, t, h) = (images(11, 43, d, spread), images(12, 120, d, 0.5), images(13, 50, d, 0.875));
        let (x, t, h) = (Samples::new(&x, 43, d), Samples::new(&t, 120, d), Samples::new(&h, 50, d));
        image_quality(x.unwrap(), t.unwrap(), Some(&labels(120)), h.unwrap()).unwrap()
    }

    #[test]
    fn agrees_with_the_script_of_the_recipes() {
        // python tests/goldens.py image_quality; 1e-8: singular covariances, see `frechet`.
        for (side, spread, gold) in [(8, 0.9375, GOLD_8), (28, 0.890625, GOLD_28)] {
            let q = measured(side, spread);
            assert_close(q.fd_pix, gold[0], 1e-8);
            assert_close(q.fd_sign, gold[1], 1e-8);
            assert_eq!(q.near, gold[2]);
            assert_close(q.classes.unwrap(), gold[3], 1e-12);
        }
    }
    const GOLD_8: [f64; 4] = [3.1951253821073333, 14.254007116724758, 0.6511627906976745, 8.1012884830546];
    const GOLD_28: [f64; 4] = [0.11385994734736582, 16.559525603867, 0.5581395348837209, 9.680091742722311];

    #[test]
    fn noise_is_far_and_real_data_near() {
        let (t, h) = (images(1, 200, 64, 0.125), images(2, 80, 64, 0.125));
        let (t, h) = (Samples::new(&t, 200, 64).unwrap(), Samples::new(&h, 80, 64).unwrap());
        let rows = reference_rows(t, Some(&labels(200)), h, 80, 3).unwrap();
        assert!(rows.noise.near < 0.05 && rows.real.near > 0.7, "{rows:?}");
        assert!(rows.noise.fd_pix > 2.0 * rows.real.fd_pix, "{rows:?}");
        assert!(rows.real.classes.unwrap() > 8.0);
        assert_eq!(reference_rows(t, None, h, 80, 3).unwrap().noise.classes, None);
    }

    #[test]
    fn mismatched_inputs_are_named() {
        let v = images(1, 8, 64, 0.5);
        let x = Samples::new(&v, 8, 64).unwrap();
        let other = Samples::new(&v, 2, 256).unwrap();
        assert!(image_quality(x, other, None, x).is_err());
        let e = image_quality(x, x, Some(&[1, 2]), x).unwrap_err().to_string();
        assert_eq!(e, "number of training labels: found 2, wanted 8, as in the training images");
        assert!(image_quality(x.slice(0, 1), x, None, x).is_err());
        assert!(image_quality(x, x.slice(0, 0), None, x).is_err());
    }
}
