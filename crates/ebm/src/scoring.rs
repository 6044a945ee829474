//! Energies of files, a few samples at a time.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use ebm_core::Batch;
use ebm_data::folder::{Channels, FolderOptions, pictures, read_picture};
use ebm_data::npy::{NpyRows, NpyValues};

use crate::sampling::device_of;
use crate::{Error, Model, Result};

/// Energy of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreRow {
    /// The file.
    pub file: PathBuf,
    /// Number of the sample in its file, from 0.
    pub index: u64,
    /// Energy in nats: the sum of the terms.
    pub energy: f64,
    /// Terms, in the order of the energy's names.
    pub terms: Vec<f64>,
}

/// Gives the energy of every sample of `path` to `sink`, in order: the rows of an `.npy` file `(N, ...)` (bytes are
/// levels of 256), a picture, or the pictures of a folder. Memory does not grow with the number of samples.
///
/// # Errors
/// If a file cannot be read, samples have another shape than the energy's, or `sink` fails.
pub fn score(model: &Model, path: &Path, sink: &mut dyn FnMut(ScoreRow) -> Result<()>) -> Result<()> {
    let mut scorer = Scorer { model, rows: model.plan().config().run.batch.max(1), sink };
    if path.is_dir() {
        let files = pictures(path)?;
        if files.is_empty() {
            return Err(
                ebm_core::Error::data(path, "found no picture in it, wanted .png or .jpg files").into()
            );
        }
        return scorer.pictures(&files);
    }
    match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("npy") => scorer.npy(path),
        Some("png" | "jpg" | "jpeg") => scorer.pictures(&[path.to_path_buf()]),
        _ if !path.exists() => Err(ebm_core::Error::data(path, "is not there").into()),
        _ => Err(Error::Usage(format!(
            "{}: wanted an .npy file, a picture (.png, .jpg) or a folder of pictures",
            path.display()
        ))),
    }
}

struct Scorer<'a> {
    model: &'a Model,
    rows: usize,
    sink: &'a mut dyn FnMut(ScoreRow) -> Result<()>,
}

impl Scorer<'_> {
    fn npy(&mut self, path: &Path) -> Result<()> {
        let mut rows = NpyRows::open(path)?;
        let mut first = 0;
        while rows.left() > 0 {
            let mut dims = vec![(rows.left().min(self.rows as u64)) as usize];
            dims.extend_from_slice(rows.sample_dims());
            let values = match rows.next(self.rows)? {
                NpyValues::U8(bytes) => bytes.into_iter().map(level).collect(),
                other => other.into_f32(),
            };
            let names: Vec<(PathBuf, u64)> =
                (0..dims[0] as u64).map(|i| (path.to_path_buf(), first + i)).collect();
            first += dims[0] as u64;
            self.score(values, &dims, &names)?;
        }
        Ok(())
    }

    fn pictures(&mut self, files: &[PathBuf]) -> Result<()> {
        let grey = self.model.plan().data().sample_shape().first() == Some(&1);
        let options =
            FolderOptions { channels: if grey { Channels::Grey } else { Channels::Rgb }, resize: None };
        for files in files.chunks(self.rows) {
            let (mut values, mut names, mut shape) = (Vec::new(), Vec::new(), None);
            for file in files {
                let picture = read_picture(file, &options)?;
                let (c, h, w) = picture.shape();
                if shape.is_some_and(|s| s != (c, h, w)) {
                    // A batch has one shape; the energy's own message says which one it wants.
                    self.flush(&mut values, shape, &mut names)?;
                }
                shape = Some((c, h, w));
                values.extend(picture.bytes().iter().map(|b| level(*b)));
                names.push((file.clone(), 0));
            }
            self.flush(&mut values, shape, &mut names)?;
        }
        Ok(())
    }

    fn flush(
        &mut self,
        values: &mut Vec<f32>,
        shape: Option<(usize, usize, usize)>,
        names: &mut Vec<(PathBuf, u64)>,
    ) -> Result<()> {
        let Some((c, h, w)) = shape.filter(|_| !names.is_empty()) else { return Ok(()) };
        let names = std::mem::take(names);
        self.score(std::mem::take(values), &[names.len(), c, h, w], &names)
    }

    fn score(&mut self, values: Vec<f32>, dims: &[usize], names: &[(PathBuf, u64)]) -> Result<()> {
        let plan = self.model.plan();
        let file = names.first().map(|(f, _)| f.display().to_string()).unwrap_or_default();
        if &dims[1..] != plan.data().sample_shape() {
            return Err(ebm_core::Error::data(
                file,
                format!(
                    "found shape {:?}, expected {:?}; the model was trained on samples of another shape",
                    &dims[1..],
                    plan.data().sample_shape()
                ),
            )
            .into());
        }
        let width = dims[1..].iter().product::<usize>().max(1);
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let (file, index) = &names[(at / width).min(names.len() - 1)];
            let message = format!("sample {index} holds the value {}, wanted finite numbers", values[at]);
            return Err(ebm_core::Error::data(file, message).into());
        }
        let x = Tensor::from_vec(values, dims, &Device::Cpu)
            .and_then(|t| t.to_dtype(plan.config().run.dtype.dtype())?.to_device(&device_of(plan)))
            .map_err(ebm_core::Error::from)?;
        let terms = self.model.energy()?.terms(&Batch::new(x)?)?;
        let terms = terms.to_dtype(candle_core::DType::F64).and_then(|t| t.to_vec2::<f64>());
        for (terms, (file, index)) in terms.map_err(ebm_core::Error::from)?.into_iter().zip(names) {
            let energy: f64 = terms.iter().sum();
            if !energy.is_finite() {
                let what = format!("energy of sample {index} of {}", file.display());
                let message = format!("is {energy}; are the model's weights finite?");
                return Err(ebm_core::Error::numeric(what, 0, message).into());
            }
            (self.sink)(ScoreRow { file: file.clone(), index: *index, energy, terms })?;
        }
        Ok(())
    }
}

/// A byte as the middle of its level, as data sources store it.
fn level(byte: u8) -> f32 {
    (f32::from(byte) + 0.5) / 256.0
}
