//! Samples in the shape of a model: refused, or resized and recoloured where that is asked for.

use std::path::Path;

use ebm_core::{Columns, Domain};
use ebm_data::folder::luma;
use ebm_data::resize::bilinear;
use ebm_model::Facts;

use super::units::{Tally, Units};
use crate::error::{Error, Result};

/// The shape that samples must have, and the units that they are compared with.
#[derive(Clone, Debug)]
pub struct Fit {
    /// Shape of one sample, as the energy wants it.
    pub shape: Vec<usize>,
    /// Whether images of another size are resized and their colours converted.
    pub resize: bool,
    /// What the model was trained on, if that is known: samples in other units are refused or remarked upon.
    pub units: Option<Units>,
    /// The columns that samples of the model are made of: tables and numbers in their units become such samples.
    pub columns: Columns,
    /// Which values the energy's samples take: black and white images become such, grey ones are refused.
    pub domain: Domain,
    /// Whether values are used in double precision; else they must be finite in single precision.
    pub double: bool,
}

impl Fit {
    /// Samples of this shape as they are.
    pub fn of_shape(shape: &[usize]) -> Self {
        Fit {
            shape: shape.to_vec(),
            resize: false,
            units: None,
            columns: Columns::default(),
            domain: Domain::Real,
            double: false,
        }
    }

    /// Samples of this shape as a model knows them that has these facts, and an energy of this domain.
    pub fn known(shape: &[usize], domain: Domain, facts: &Facts) -> Self {
        Fit { units: Units::of(facts), columns: facts.columns.clone(), domain, ..Fit::of_shape(shape) }
    }

    /// Values of a discrete domain as the energy takes them: of images, whose values stand in the middles of their `levels`, those that are
    /// black and white; as they are of other domains. Numbers that are none of the domain, which `seen` counts, stay: the energy is
    /// that of its relaxation there.
    ///
    /// # Errors
    /// If images are grey: a model of black and white ones says nothing of them.
    pub(super) fn of_domain(
        &self,
        mut values: Vec<f64>,
        levels: Option<u32>,
        place: &Path,
        seen: &mut Tally,
    ) -> Result<Vec<f64>> {
        if !self.domain.is_discrete() {
            return Ok(values);
        }
        if let (Some(levels), Some((low, high))) = (levels, self.domain.range()) {
            let (black, white) = (0.5 / f64::from(levels), 1.0 - 0.5 / f64::from(levels));
            if values.iter().any(|v| *v != black && *v != white) {
                let what = format!(
                    "holds grey values, expected {}: make them black and white with the setting `binary` of the set, as in \
                     npy:path=FILE,binary=threshold",
                    self.domain
                );
                return Err(ebm_core::Error::data(place, what).into());
            }
            values.iter_mut().for_each(|v| *v = if *v == black { low } else { high });
        }
        let width = self.shape.iter().product::<usize>().max(1);
        seen.astray(self.domain.outside(&ebm_data::passes::singles(&values), width), self.domain);
        Ok(values)
    }

    /// Samples `(n, found...)` in the wanted shape; `place` stands in messages. Says whether values changed.
    ///
    /// # Errors
    /// If the shape differs and images are not to be resized, or are no images with values in [0, 1].
    pub(super) fn apply(&self, values: Vec<f64>, found: &[usize], place: &Path) -> Result<(Vec<f64>, bool)> {
        if found == self.shape {
            return Ok((values, false));
        }
        // A grey image without its axis of one channel.
        if let ([h, w], [1, fh, fw]) = (found, &self.shape[..])
            && (h, w) == (fh, fw)
        {
            return Ok((values, false));
        }
        let refuse = |images: bool| Error::Shape {
            place: place.display().to_string(),
            found: found.to_vec(),
            expected: self.shape.clone(),
            images,
        };
        let (c, h, w) = match *found {
            [c @ (1 | 3), h, w] => (c, h, w),
            [h, w] => (1, h, w),
            _ => return Err(refuse(false)),
        };
        let &[to_c @ (1 | 3), to_h, to_w] = &self.shape[..] else { return Err(refuse(false)) };
        if !self.resize {
            return Err(refuse(true));
        }
        if let Some(v) = values.iter().find(|v| !(0.0..=1.0).contains(*v)) {
            let what = format!("holds the value {v}; only images with values in [0, 1] can be fitted");
            return Err(ebm_core::Error::data(place, what).into());
        }
        let bytes: Vec<u8> = values.iter().map(|v| (v * 256.0).min(255.0) as u8).collect();
        let recoloured: Vec<u8> = match (c, to_c) {
            (1, 3) => bytes.chunks_exact(h * w).flat_map(|p| [p, p, p].concat()).collect(),
            (3, 1) => {
                let n = h * w;
                let pixel = |p: &[u8], i: usize| luma(p[i], p[n + i], p[2 * n + i]);
                bytes.chunks_exact(3 * n).flat_map(|p| (0..n).map(move |i| pixel(p, i))).collect()
            }
            _ => bytes,
        };
        let resized = bilinear(&recoloured, (h, w), (to_h, to_w));
        Ok((ebm_data::passes::middles(&resized, 256), true))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fit(shape: &[usize], resize: bool) -> Fit {
        Fit { resize, ..Fit::of_shape(shape) }
    }

    #[test]
    fn black_and_white_becomes_states_and_grey_is_refused() {
        let place = Path::new("x.npy");
        let of = |domain, values: &[f64], levels| -> std::result::Result<Vec<f64>, String> {
            let fit = Fit { domain, ..Fit::of_shape(&[2]) };
            let mut seen = Tally::new(None);
            let states =
                fit.of_domain(values.to_vec(), levels, place, &mut seen).map_err(|e| e.to_string())?;
            Ok(seen.remark().map_or(states, |_| Vec::new()))
        };
        // Bytes of 0 and 1, and of 0 and 255, in the middles of their levels.
        for (levels, images) in [(2, [0.25, 0.75]), (256, [0.5 / 256.0, 255.5 / 256.0])] {
            assert_eq!(of(Domain::Binary, &images, Some(levels)), Ok(vec![0.0, 1.0]));
            assert_eq!(of(Domain::Spins, &images, Some(levels)), Ok(vec![-1.0, 1.0]));
            assert_eq!(of(Domain::Real, &images, Some(levels)), Ok(images.to_vec()));
        }
        let grey = of(Domain::Binary, &[100.5 / 256.0, 0.5 / 256.0], Some(256)).unwrap_err();
        assert!(grey.contains("x.npy: holds grey values") && grey.contains("binary=threshold"), "{grey}");
        assert_eq!(of(Domain::Spins, &[1.0, -1.0], None), Ok(vec![1.0, -1.0]));
        // Remarked upon.
        assert_eq!(of(Domain::Spins, &[1.0, 0.0], None), Ok(vec![]));
        assert_eq!(of(Domain::Categorical(2), &[1.0, 1.0], None), Ok(vec![]));
    }

    #[test]
    fn images_are_refused_or_fitted() {
        let place = Path::new("x.npy");
        let flat = vec![(100.0 + 0.5) / 256.0; 2 * 16];
        let same = fit(&[1, 4, 4], false).apply(flat.clone(), &[4, 4], place).unwrap();
        assert_eq!(same, (flat.clone(), false));
        let text = fit(&[1, 8, 8], false).apply(flat.clone(), &[4, 4], place).unwrap_err().to_string();
        assert!(
            text.contains("x.npy: found shape [4, 4], expected [1, 8, 8]") && text.contains("can be resized"),
            "{text}"
        );
        let (colour, changed) = fit(&[3, 8, 8], true).apply(flat.clone(), &[4, 4], place).unwrap();
        assert_eq!((colour.len(), changed), (2 * 3 * 64, true));
        assert!(colour.iter().all(|v| *v == flat[0]));
        // Grey of three equal channels is the same grey.
        assert_eq!(fit(&[1, 4, 4], true).apply(colour, &[3, 8, 8], place).unwrap().0, flat);
        for (shape, found) in [(&[2][..], &[4, 4][..]), (&[1, 8, 8], &[2, 4, 4]), (&[5, 8, 8], &[1, 4, 4])] {
            assert!(fit(shape, true).apply(flat.clone(), found, place).is_err());
        }
        let text = fit(&[1, 8, 8], true).apply(vec![1.5; 16], &[4, 4], place).unwrap_err().to_string();
        assert!(text.contains("1.5") && text.contains("[0, 1]"), "{text}");
    }
}
