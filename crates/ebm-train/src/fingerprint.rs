//! What tells the data of a run from others.

use ebm_core::candle::DType;
use ebm_core::{DataSource, Key, Result};
use ebm_model::checkpoint::Fingerprint;
use ebm_model::digest::sha256;

/// Values that are looked at: all of a small set, some hundred pictures of a large one.
const VALUES: usize = 1 << 20;

/// The fingerprint of training data: their number, and a digest of rows that lie all over them, the same rows at each call.
///
/// # Errors
/// If they cannot be read.
pub fn fingerprint(data: &dyn DataSource) -> Result<Fingerprint> {
    let width = data.sample_shape().iter().product::<usize>().max(1);
    let rows = data.len().min((VALUES / width).max(1));
    let batch = data.batch(0, 0, rows, Key::root(0).at("fingerprint"))?;
    let mut bytes = Vec::new();
    for tensor in std::iter::once(&batch.x).chain(&batch.cond) {
        bytes.extend(tensor.dims().iter().flat_map(|n| (*n as u64).to_le_bytes()));
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        bytes.extend(values.into_iter().flat_map(f32::to_le_bytes));
    }
    Ok(Fingerprint { samples: data.len() as u64, rows: sha256(&bytes) })
}
