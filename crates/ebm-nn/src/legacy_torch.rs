//! PyTorch's weight files before version 1.6: pickles of a magic number, a version, the machine and
//! the object, then the list of storages and their raw numbers.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use candle_core::pickle::{Object, Stack, TensorInfo};
use candle_core::{Device, Tensor};
use ebm_core::{Error, Result};

/// The first pickle: protocol 2, a ten-byte number, end.
const MAGIC: [u8; 15] = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];

/// Longest file of storages that is believed without running out of memory, in elements.
const LONGEST: u64 = 1 << 33;

/// Whether a file that begins with `start` is of this format.
pub(crate) fn is_legacy(start: &[u8]) -> bool {
    start == &MAGIC[..4]
}

/// The tensors of the dictionary `key` (`None`: of the top level).
pub(crate) fn read(path: &Path, key: Option<&str>) -> Result<Vec<(String, Tensor)>> {
    let fail = |message: String| Error::data(path, message);
    let (root, bytes) = open(path)?;
    let infos = infos(root, key).map_err(|e| fail(e.to_string()))?;
    infos
        .into_iter()
        .map(|info| {
            let id = info.path.rsplit('/').next().unwrap_or_default().to_string();
            let data =
                bytes.get(&id).ok_or_else(|| fail(format!("has no storage `{id}` for `{}`", info.name)))?;
            let t = tensor(&info, data).map_err(|e| fail(format!("tensor `{}`: {e}", info.name)))?;
            Ok((info.name, t))
        })
        .collect()
}

/// The object that was saved, and the bytes of its storages by id.
pub(crate) fn open(path: &Path) -> Result<(Object, BTreeMap<String, Vec<u8>>)> {
    let fail = |message: String| Error::data(path, message);
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut reader = BufReader::new(file);
    let mut magic = [0u8; MAGIC.len()];
    reader.read_exact(&mut magic).map_err(|e| Error::io(path, e))?;
    if magic != MAGIC {
        return Err(fail("does not begin with PyTorch's magic number".into()));
    }
    let mut next = |what: &str| {
        object(&mut reader).map_err(|e| fail(format!("its {what} cannot be read as PyTorch's pickle: {e}")))
    };
    next("version")?;
    next("description of the machine")?;
    let root = next("object")?;
    let order = next("list of storages")?;

    let mut widths = HashMap::new();
    storages(&root, &mut widths);
    let bytes = storage_bytes(&mut reader, order, &widths).map_err(fail)?;
    Ok((root, bytes))
}

pub(crate) fn object<R: BufRead>(reader: &mut R) -> candle_core::Result<Object> {
    let mut stack = Stack::empty();
    stack.read_loop(reader)?;
    stack.finalize()
}

/// Bytes of one element of every storage that `object` mentions, by the storage's id.
fn storages(object: &Object, widths: &mut HashMap<String, usize>) {
    match object {
        Object::PersistentLoad(id) => {
            if let Object::Tuple(parts) = id.as_ref()
                && let (Some(Object::Class { class_name, .. }), Some(Object::Unicode(id))) =
                    (parts.get(1), parts.get(2))
            {
                let width = match class_name.as_str() {
                    "DoubleStorage" | "LongStorage" => 8,
                    "FloatStorage" | "IntStorage" => 4,
                    "HalfStorage" | "BFloat16Storage" | "ShortStorage" => 2,
                    _ => 1,
                };
                widths.insert(id.clone(), width);
            }
        }
        Object::Tuple(all) | Object::List(all) => all.iter().for_each(|o| storages(o, widths)),
        Object::Dict(all) => all.iter().for_each(|(k, v)| {
            storages(k, widths);
            storages(v, widths);
        }),
        Object::Reduce { callable, args } | Object::Build { callable, args } => {
            storages(callable, widths);
            storages(args, widths);
        }
        _ => {}
    }
}

fn infos(root: Object, key: Option<&str>) -> candle_core::Result<Vec<TensorInfo>> {
    let Object::Dict(mut entries) = root else { candle_core::bail!("holds no dictionary") };
    if let Some(key) = key {
        let wanted = Object::Unicode(key.to_string());
        let names: Vec<String> = entries.iter().filter_map(|(k, _)| k.clone().unicode().ok()).collect();
        let Some(at) = entries.iter().position(|(k, _)| *k == wanted) else {
            candle_core::bail!("has no key `{key}`; it has {names:?}")
        };
        let Object::Dict(inner) = entries.swap_remove(at).1 else {
            candle_core::bail!("its entry `{key}` is no dictionary of tensors")
        };
        entries = inner;
    }
    let mut all = Vec::new();
    for (name, value) in entries {
        if let Some(info) = value.into_tensor_info(name, Path::new(""))? {
            all.push(info);
        }
    }
    Ok(all)
}

fn storage_bytes<R: Read>(
    reader: &mut R,
    order: Object,
    widths: &HashMap<String, usize>,
) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let Object::List(ids) = order else { return Err("its list of storages is no list".into()) };
    let mut all = BTreeMap::new();
    for id in ids {
        let id = id.unicode().map_err(|o| format!("its list of storages holds {o:?}"))?;
        let width = *widths.get(&id).ok_or_else(|| format!("no tensor mentions its storage `{id}`"))?;
        let mut count = [0u8; 8];
        reader.read_exact(&mut count).map_err(|e| format!("ends before storage `{id}`: {e}"))?;
        let count = u64::from_le_bytes(count);
        if count > LONGEST {
            return Err(format!("storage `{id}` claims {count} elements; the file is damaged"));
        }
        let (wanted, mut data) = (count * width as u64, Vec::new());
        let got = reader.take(wanted).read_to_end(&mut data).map_err(|e| e.to_string())?;
        if got as u64 != wanted {
            return Err(format!("ends inside storage `{id}`: found {got} bytes, wanted {wanted}"));
        }
        all.insert(id, data);
    }
    Ok(all)
}

/// The tensor that `info` describes as strides over `data`.
pub(crate) fn tensor(info: &TensorInfo, data: &[u8]) -> candle_core::Result<Tensor> {
    let shape = info.layout.shape().dims();
    let width = info.dtype.size_in_bytes();
    // candle gives the offset in bytes, strides in elements.
    let start = info.layout.start_offset();
    let mut bytes = Vec::with_capacity(shape.iter().product::<usize>() * width);
    let mut index = vec![0usize; shape.len()];
    for _ in 0..shape.iter().product::<usize>() {
        let offset: usize = index.iter().zip(info.layout.stride()).map(|(i, s)| i * s).sum();
        let at = start + offset * width;
        let Some(element) = data.get(at..at + width) else {
            candle_core::bail!("reaches beyond its storage of {} bytes", data.len())
        };
        bytes.extend_from_slice(element);
        for d in (0..shape.len()).rev() {
            index[d] += 1;
            if index[d] < shape[d] {
                break;
            }
            index[d] = 0;
        }
    }
    Tensor::from_raw_buffer(&bytes, info.dtype, shape, &Device::Cpu)
}
