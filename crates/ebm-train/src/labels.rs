//! Chains that keep their label: in the buffer a row is a sample with its condition behind it.

use ebm_core::candle::Tensor;
use ebm_core::{Error, ReplayConfig, Result};

use crate::config::Labels;

/// What a row of the replay buffer is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rows {
    sample: Vec<usize>,
    /// Length of the condition behind each sample; 0 where chains keep none.
    condition: usize,
}

impl Rows {
    /// Rows for samples of this shape under a condition of this length.
    pub fn new(sample: &[usize], condition: usize, labels: Labels) -> Self {
        let condition = if labels == Labels::Kept { condition } else { 0 };
        Rows { sample: sample.to_vec(), condition }
    }

    /// The shape of a row.
    pub fn shape(&self) -> Vec<usize> {
        match self.condition {
            0 => self.sample.clone(),
            n => vec![self.sample.iter().product::<usize>() + n],
        }
    }

    /// Whether rows hold a condition.
    pub fn keep(&self) -> bool {
        self.condition > 0
    }

    /// The rows of samples `x` `(n, ...)` under `cond` `(n, c)`.
    ///
    /// # Errors
    /// If there is no condition and rows hold one.
    pub fn join(&self, x: Tensor, cond: Option<&Tensor>) -> Result<Tensor> {
        if !self.keep() {
            return Ok(x);
        }
        let cond = cond.ok_or_else(|| {
            Error::config(
                "chains.labels",
                "is \"kept\", but a sampler returned chains without their condition",
            )
        })?;
        Ok(Tensor::cat(&[&x.flatten_from(1)?, &cond.to_dtype(x.dtype())?], 1)?)
    }

    /// The samples `(n, ...)` of rows, and the conditions `(n, c)` if rows hold them.
    ///
    /// # Errors
    /// If the rows are of another shape.
    pub fn split(&self, rows: Tensor) -> Result<(Tensor, Option<Tensor>)> {
        if !self.keep() {
            return Ok((rows, None));
        }
        let len: usize = self.sample.iter().product();
        let mut shape = vec![rows.dim(0)?];
        shape.extend_from_slice(&self.sample);
        let x = rows.narrow(1, 0, len)?.contiguous()?.reshape(shape)?;
        Ok((x, Some(rows.narrow(1, len, self.condition)?.contiguous()?)))
    }
}

/// Refuses what would change a label on its way through the buffer.
///
/// # Errors
/// If there is no condition to keep, or the buffer does not keep floats as they are.
pub(crate) fn check(labels: Labels, condition: usize, replay: Option<&dyn ReplayConfig>) -> Result<()> {
    if labels == Labels::Data {
        return Ok(());
    }
    if condition == 0 {
        let message =
            "is \"kept\", but the data have no condition; wanted labelled data (such as data.labels = true)";
        return Err(Error::config("chains.labels", message));
    }
    let tree = replay.map(serde_json::to_value).transpose().map_err(|e| Error::plugin("replay", e))?;
    match tree.as_ref().and_then(|t| t.get("storage")).and_then(|s| s.as_str()) {
        None | Some("float") => Ok(()),
        Some(other) => {
            let message = format!(
                "is \"{other}\", wanted \"float\": chains.labels = \"kept\" stores conditions beside samples"
            );
            Err(Error::config("replay.storage", message))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::Device;

    use super::*;

    #[test]
    fn rows_come_apart_as_they_were_put_together() {
        let x = Tensor::arange(0f32, 24.0, &Device::Cpu).unwrap().reshape((2, 3, 2, 2)).unwrap();
        let cond = Tensor::new(&[[0f32, 1.0], [0.25, -3.0]], &Device::Cpu).unwrap();
        let rows = Rows::new(&[3, 2, 2], 2, Labels::Kept);
        assert_eq!(rows.shape(), [14]);
        let (y, c) = rows.split(rows.join(x.clone(), Some(&cond)).unwrap()).unwrap();
        assert_eq!(y.dims(), x.dims());
        assert_eq!(
            y.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            x.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        );
        assert_eq!(c.unwrap().to_vec2::<f32>().unwrap(), cond.to_vec2::<f32>().unwrap());
        let plain = Rows::new(&[3, 2, 2], 2, Labels::Data);
        assert_eq!(plain.shape(), [3, 2, 2]);
        assert!(plain.split(x).unwrap().1.is_none());
    }
}
