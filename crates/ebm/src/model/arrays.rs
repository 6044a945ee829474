//! Energies, slopes and Hessian-vector products of scored samples, as arrays of NumPy.

use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use ebm_data::npy::{NpyValues, encode_values};

use crate::error::{Error, Result};
use crate::inputs::rows::rows;
use crate::model::draws::ending;
use crate::model::open::Model;
use crate::model::score::ScoreRow;
use crate::whole_file;

/// Numbers of one array that are kept at most: 1 GiB in f64.
const MOST: usize = 1 << 27;

/// Where arrays of scored samples go, all `.npy`, a row a sample in the order of the samples.
#[derive(Clone, Debug, Default)]
pub struct ArrayFiles {
    /// Energies `(n,)`, nats.
    pub energies: Option<PathBuf>,
    /// `∇ₓE`, `(n, ...)`.
    pub slope: Option<PathBuf>,
    /// `∇²E·v`, `(n, ...)`.
    pub hvp: Option<PathBuf>,
    /// Whether files that are there already are replaced.
    pub overwrite: bool,
}

/// Rows of scores on their way to files.
pub struct ScoreArrays {
    files: ArrayFiles,
    single: bool,
    shape: Vec<usize>,
    rows: usize,
    /// Energies, slopes, products.
    kept: [Vec<f64>; 3],
}

impl ScoreArrays {
    /// Collects for the samples of `model`.
    ///
    /// # Errors
    /// If a file has another ending, is there already, or cannot be written.
    pub fn new(model: &Model, files: ArrayFiles) -> Result<Self> {
        let all = [("energies", &files.energies), ("slope", &files.slope), ("hvp", &files.hvp)];
        whole_file::apart(&all.map(|(setting, path)| (setting, path.as_deref())))?;
        for (setting, path) in all {
            let Some(path) = path else { continue };
            ending(setting, path, "npy")?;
            whole_file::free(setting, path, files.overwrite)?;
        }
        let (single, shape) = (model.dtype() != DType::F64, model.sample_shape().to_vec());
        Ok(ScoreArrays { files, single, shape, rows: 0, kept: Default::default() })
    }

    /// Whether slopes are wanted.
    pub fn wants_slope(&self) -> bool {
        self.files.slope.is_some()
    }

    /// Takes the rows of a piece.
    ///
    /// # Errors
    /// If they become too many to be kept.
    pub fn take(&mut self, rows: &[ScoreRow]) -> Result<()> {
        self.rows += rows.len();
        let wanted = [&self.files.energies, &self.files.slope, &self.files.hvp].map(Option::is_some);
        for row in rows {
            let of = [std::slice::from_ref(&row.energy), &row.slope, &row.product];
            for ((kept, values), _) in self.kept.iter_mut().zip(of).zip(wanted).filter(|(_, wanted)| *wanted)
            {
                kept.extend_from_slice(values);
                if kept.len() > MOST {
                    let what = format!("fewer samples at a time: an array of at most {MOST} numbers is kept");
                    return Err(Error::unfit("arrays of scores", format!("wanted {what}")));
                }
            }
        }
        Ok(())
    }

    /// Writes the files.
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn write(self) -> Result<()> {
        let [energies, slope, product] = self.kept;
        let samples = [&[self.rows][..], &self.shape].concat();
        let all = [
            (self.files.energies, energies, vec![self.rows]),
            (self.files.slope, slope, samples.clone()),
            (self.files.hvp, product, samples),
        ];
        for (path, values, dims) in all {
            let Some(path) = path else { continue };
            let values = match self.single {
                true => NpyValues::F32(values.into_iter().map(|v| v as f32).collect()),
                false => NpyValues::F64(values),
            };
            whole_file::replace(&path, &encode_values(&values, &dims)?)?;
        }
        Ok(())
    }
}

/// Directions `(n, ...)` of an `.npy` file, one for each sample of a set, for
/// [`ScoreOptions::directions`](crate::model::ScoreOptions::directions).
///
/// # Errors
/// If it cannot be read or its rows have another shape than samples.
pub fn directions(model: &Model, path: &Path) -> Result<Tensor> {
    rows(path, model.sample_shape(), None, model.dtype(), model.device())
}

/// Starting points `(n, ...)` of an `.npy` file, for [`SampleOptions::start`](crate::model::SampleOptions::start) and
/// [`ChainOptions::start`](crate::measure::ChainOptions::start): numbers in the units of training samples, of a
/// table in its own, or images as bytes.
///
/// # Errors
/// If it cannot be read, its rows have another shape than samples, or are none of a discrete energy.
pub fn starts(model: &Model, path: &Path) -> Result<Tensor> {
    let start = rows(path, model.sample_shape(), Some(model.facts()), model.dtype(), model.device())?;
    crate::inputs::rows::of_domain(path, &start, model.energy().spec().domain)?;
    Ok(start)
}
