//! What samples are compared by: their features, gathered piece by piece.

use std::path::Path;

use candle_core::Device;
use ebm_eval::{Features, Samples, SplitMix, cell_means, pixels, signs};
use ebm_features::Network;

use crate::error::{Error, Result};
use crate::measure::networks::open_network;
use crate::tensors::equally_spaced;

/// Samples that a set needs at least: halves of them have five neighbours and some to spare.
pub(super) const LEAST: usize = 16;

/// What samples are compared by.
pub(super) enum Kind {
    Values,
    Pixels,
    Cells(usize),
    Signs,
    Network(Box<Network>),
}

impl Kind {
    pub(super) fn all(names: &[String], shape: &[usize]) -> Result<Vec<Kind>> {
        let image = matches!(shape, [1 | 3, _, _]);
        if names.is_empty() {
            return Ok(if image { vec![Kind::Pixels, Kind::Signs] } else { vec![Kind::Values] });
        }
        names
            .iter()
            .map(|name| {
                let kind = match (name.as_str(), name.strip_prefix("cells:")) {
                    ("values", _) => return Ok(Kind::Values),
                    ("pixels", _) => Kind::Pixels,
                    ("signs", _) => Kind::Signs,
                    (_, Some(n)) => Kind::Cells(cell(name, n, shape)?),
                    (path, None) => {
                        let weights = path.strip_prefix("inception-v3:").unwrap_or(path);
                        if !Path::new(weights).exists() {
                            return Err(Error::invalid(
                                "features",
                                name,
                                "a network that is there, or one of values, pixels, cells:N, signs, inception-v3:WEIGHTS",
                            ));
                        }
                        Kind::Network(Box::new(open_network(path, &Device::Cpu)?))
                    }
                };
                match image {
                    true => Ok(kind),
                    false => Err(Error::invalid(
                        "features",
                        name,
                        format!(
                            "images of 1 or 3 channels, found samples of shape {shape:?}; `values` takes any"
                        ),
                    )),
                }
            })
            .collect()
    }

    pub(super) fn label(&self, width: usize) -> String {
        match self {
            Kind::Values => format!("values {width}"),
            Kind::Pixels => format!("pixels {width}"),
            Kind::Cells(n) => format!("cells:{n} {width}"),
            Kind::Signs => format!("signs {width}"),
            Kind::Network(n) => n.label(),
        }
    }

    pub(super) fn frechet(&self, width: usize) -> String {
        match self {
            Kind::Network(n) => n.frechet_name(),
            _ => format!("Frechet[{}]", self.label(width)),
        }
    }

    /// Features and probabilities of samples of a shape.
    fn of(&self, x: &[f32], shape: &[usize]) -> Result<(Features, Option<Features>)> {
        let d = shape.iter().product::<usize>();
        let view = Samples::new(x, x.len() / d.max(1), d)?;
        let image = match *shape {
            [c, h, w] => [c, h, w],
            _ => [1, 1, d],
        };
        Ok(match self {
            Kind::Values => (view.features(), None),
            Kind::Pixels => (pixels(view)?, None),
            Kind::Cells(n) => (cell_means(view, (image[0], image[1], image[2]), *n)?, None),
            Kind::Signs => (signs(view)?, None),
            Kind::Network(n) => n.tables(x, image)?,
        })
    }
}

/// The side of the cells of `cells:N`, which must divide both sides of an image.
fn cell(name: &str, n: &str, shape: &[usize]) -> Result<usize> {
    let wrong = |wanted: &str| Err(Error::invalid("features", name, wanted));
    let Ok(n) = n.parse::<usize>() else { return wrong("cells:N with the side of a cell in pixels") };
    match *shape {
        [_, h, w] if n == 0 || h % n != 0 || w % n != 0 => {
            wrong(&format!("a divisor of both sides of images of {h} x {w} pixels"))
        }
        _ => Ok(n),
    }
}

/// Collects the features of a set.
pub(super) struct Seen<'a> {
    kinds: &'a [Kind],
    shape: &'a [usize],
    keep: usize,
    n: usize,
    features: Vec<Vec<f64>>,
    probabilities: Vec<Vec<f64>>,
    widths: Vec<(usize, usize)>,
    pictures: Vec<f32>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(kinds: &'a [Kind], shape: &'a [usize], keep: usize) -> Self {
        let none = || vec![Vec::new(); kinds.len()];
        Seen {
            kinds,
            shape,
            keep,
            n: 0,
            features: none(),
            probabilities: none(),
            widths: vec![(0, 0); kinds.len()],
            pictures: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, x: &[f32]) -> Result<()> {
        let d = self.shape.iter().product::<usize>().max(1);
        let left = self.keep.saturating_sub(self.n).saturating_mul(d).min(x.len());
        self.pictures.extend_from_slice(&x[..left]);
        self.n += x.len() / d;
        for (i, kind) in self.kinds.iter().enumerate() {
            let (f, p) = kind.of(x, self.shape)?;
            self.widths[i] = (f.d(), p.as_ref().map_or(0, Features::d));
            self.features[i].extend_from_slice(f.data());
            if let Some(p) = p {
                self.probabilities[i].extend_from_slice(p.data());
            }
        }
        Ok(())
    }

    pub(super) fn enough(&self, name: &str) -> Result<()> {
        match self.n >= LEAST {
            true => Ok(()),
            false => Err(Error::unfit(name, format!("found {} samples, wanted at least {LEAST}", self.n))),
        }
    }

    pub(super) fn tables(self) -> Result<Tables> {
        let n = self.n;
        let mut all = Vec::new();
        for ((f, p), (wide, classes)) in self.features.into_iter().zip(self.probabilities).zip(self.widths) {
            let p = if classes > 0 { Some(Features::new(p, n, classes)?) } else { None };
            all.push((Features::new(f, n, wide)?, p));
        }
        Ok(Tables { n, all, pictures: self.pictures, shape: self.shape.to_vec() })
    }
}

/// Features and probabilities of a set, a pair a kind.
pub(super) struct Tables {
    pub(super) n: usize,
    pub(super) all: Vec<(Features, Option<Features>)>,
    /// The first samples themselves.
    pub(super) pictures: Vec<f32>,
    pub(super) shape: Vec<usize>,
}

impl Tables {
    /// Two random halves: halves in file order would differ where a file is sorted.
    pub(super) fn halves(&self, seed: u64) -> Result<(Tables, Tables)> {
        let order = SplitMix::new(seed).permutation(self.n);
        let (a, b) = order.split_at(self.n / 2);
        let half = |rows: &[usize]| -> Result<Tables> {
            let of = |f: &Features| {
                Features::new(
                    rows.iter().flat_map(|r| f.row(*r).iter().copied()).collect(),
                    rows.len(),
                    f.d(),
                )
            };
            let mut all = Vec::new();
            for (f, p) in &self.all {
                all.push((of(f)?, p.as_ref().map(of).transpose()?));
            }
            let d = self.shape.iter().product::<usize>().max(1);
            let kept = self.pictures.len() / d;
            let pictures = rows.iter().filter(|r| **r < kept);
            let pictures = pictures.flat_map(|r| &self.pictures[r * d..(r + 1) * d]).copied().collect();
            Ok(Tables { n: rows.len(), all, pictures, shape: self.shape.clone() })
        };
        Ok((half(a)?, half(b)?))
    }
}

/// At most `most` rows, at equal distances.
pub(super) fn thinned(f: &Features, most: usize) -> Result<Features> {
    let n = f.n().min(most);
    if n == f.n() {
        return Ok(f.clone());
    }
    let data = equally_spaced(f.n(), n).flat_map(|i| f.row(i).iter().copied()).collect();
    Ok(Features::new(data, n, f.d())?)
}
