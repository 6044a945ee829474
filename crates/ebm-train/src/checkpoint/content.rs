//! What goes into a file: bytes, or tensors in the safetensors format that are turned into bytes piece by piece, so that a large
//! buffer is not in memory once more for being written.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use ebm_core::candle::{DType, Device, Storage, Tensor, WithDType};
use ebm_core::{Error, Result};
use ebm_model::digest::hexadecimal;
use sha2::{Digest, Sha256};

/// Takes one piece of a file after the other.
pub(crate) type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// The content of a file.
pub(crate) enum Content {
    Bytes(Vec<u8>),
    Tensors(Tensors),
    /// That of another file.
    Copy(PathBuf),
}

impl Content {
    /// Hands all of it to `sink`, in order.
    pub fn pieces(&self, sink: &mut Sink<'_>) -> io::Result<()> {
        match self {
            Content::Bytes(bytes) => sink(bytes),
            Content::Tensors(tensors) => tensors.pieces(sink),
            Content::Copy(file) => {
                let mut file = BufReader::with_capacity(AT_ONCE, ebm_core::regular::open(file)?);
                loop {
                    let piece = file.fill_buf()?;
                    let n = piece.len();
                    if n == 0 {
                        return Ok(());
                    }
                    sink(piece)?;
                    file.consume(n);
                }
            }
        }
    }

    /// SHA-256 in hexadecimal.
    pub fn sha256(&self) -> Result<String> {
        let mut digest = Sha256::new();
        let hashed = self.pieces(&mut |piece| {
            digest.update(piece);
            Ok(())
        });
        hashed.map_err(|e| Error::plugin("checkpoint", e))?;
        Ok(hexadecimal(&digest.finalize()))
    }
}

/// The header of a safetensors file, and its tensors in the order in which their numbers follow.
pub(crate) struct Tensors {
    header: Vec<u8>,
    tensors: Vec<Tensor>,
}

impl Tensors {
    /// The file that `safetensors::serialize` makes of these, byte for byte.
    ///
    /// # Errors
    /// If the header cannot be written.
    pub fn new(of: &BTreeMap<String, Tensor>) -> Result<Self> {
        let mut all =
            of.iter().map(|(name, t)| (safetensors::Dtype::from(t.dtype()), name, t)).collect::<Vec<_>>();
        // Larger numbers first, so that all lie at multiples of their size.
        all.sort_by(|(a, name_a, _), (b, name_b, _)| b.cmp(a).then(name_a.cmp(name_b)));
        let (mut at, mut infos) = (0, Vec::with_capacity(all.len()));
        for (dtype, name, t) in &all {
            let end = at + t.elem_count() * t.dtype().size_in_bytes();
            let info = safetensors::tensor::TensorInfo {
                dtype: *dtype,
                shape: t.dims().to_vec(),
                data_offsets: (at, end),
            };
            infos.push(((*name).clone(), info));
            at = end;
        }
        let metadata =
            safetensors::tensor::Metadata::new(None, infos).map_err(|e| Error::plugin("checkpoint", e))?;
        let mut json = serde_json::to_vec(&metadata).map_err(|e| Error::plugin("checkpoint", e))?;
        json.resize(json.len().next_multiple_of(8), b' ');
        let mut header = (json.len() as u64).to_le_bytes().to_vec();
        header.append(&mut json);
        Ok(Tensors { header, tensors: all.into_iter().map(|(_, _, t)| t.clone()).collect() })
    }

    fn pieces(&self, sink: &mut Sink<'_>) -> io::Result<()> {
        sink(&self.header)?;
        self.tensors.iter().try_for_each(|t| numbers(t, sink))
    }
}

/// Numbers turned into bytes, and bytes copied, at a time.
const AT_ONCE: usize = 1 << 16;

fn numbers(t: &Tensor, sink: &mut Sink<'_>) -> io::Result<()> {
    let t = t.to_device(&Device::Cpu).and_then(|t| t.contiguous()).map_err(io::Error::other)?;
    macro_rules! of {
        ($t:ty) => {
            written::<$t, _>(&t, sink, |v| v.to_le_bytes())
        };
    }
    match t.dtype() {
        DType::U8 => of!(u8),
        DType::U32 => of!(u32),
        DType::I64 => of!(i64),
        DType::F32 => of!(f32),
        DType::F64 => of!(f64),
        DType::BF16 => of!(half::bf16),
        DType::F16 => of!(half::f16),
        other => Err(io::Error::other(format!("numbers of the type {other:?} are in no checkpoint"))),
    }
}

fn written<T: WithDType, const N: usize>(
    t: &Tensor,
    sink: &mut Sink<'_>,
    bytes: impl Fn(&T) -> [u8; N],
) -> io::Result<()> {
    let (storage, layout) = t.storage_and_layout();
    let Storage::Cpu(cpu) = &*storage else {
        return Err(io::Error::other("a tensor is not on the processor"));
    };
    let (from, to) =
        layout.contiguous_offsets().ok_or_else(|| io::Error::other("a tensor is not contiguous"))?;
    let all = &cpu.as_slice::<T>().map_err(io::Error::other)?[from..to];
    let mut piece = Vec::with_capacity(AT_ONCE.min(all.len()) * N);
    for some in all.chunks(AT_ONCE) {
        piece.clear();
        piece.extend(some.iter().flat_map(&bytes));
        sink(&piece)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_model::digest::sha256;

    use super::*;

    #[test]
    fn the_pieces_are_the_file_of_the_format_s_own_library() {
        let device = Device::Cpu;
        let f = Tensor::arange(0f32, 200_000.0, &device).unwrap();
        let all: BTreeMap<String, Tensor> = [
            ("b.\"quoted\"", f.clone()),
            ("a", f.narrow(0, 7, 12).unwrap().reshape((3, 4)).unwrap().t().unwrap()),
            ("counters", Tensor::new(&[-1i64, 5], &device).unwrap()),
            ("bytes", Tensor::new(&[1u8, 2, 3], &device).unwrap()),
            ("double", Tensor::new(&[1.5f64], &device).unwrap()),
            ("half", Tensor::new(&[1.5f32, -2.0], &device).unwrap().to_dtype(DType::BF16).unwrap()),
            ("f16", Tensor::new(&[1.5f32, -2.0], &device).unwrap().to_dtype(DType::F16).unwrap()),
            ("u32", Tensor::new(&[7u32], &device).unwrap()),
            ("none", Tensor::zeros((0, 3), DType::F32, &device).unwrap()),
            ("one", Tensor::new(3f32, &device).unwrap()),
        ]
        .map(|(name, t)| (name.to_string(), t))
        .into();
        for part in [all.clone(), BTreeMap::new()] {
            let whole = safetensors::serialize(part.iter().map(|(k, v)| (k.as_str(), v)), None).unwrap();
            let content = Content::Tensors(Tensors::new(&part).unwrap());
            let mut pieces = Vec::new();
            content.pieces(&mut |piece| io::Write::write_all(&mut pieces, piece)).unwrap();
            assert!(pieces == whole);
            assert_eq!(content.sha256().unwrap(), sha256(&whole));
        }
    }
}
