//! The two containers of PyTorch's files: a zip archive, and the stream of pickles before version 1.6.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use zip::ZipArchive;

use crate::error::Origin;
use crate::pickle::{Node, Pickle};
use crate::{DataError, Result};

/// The first pickle of a stream: protocol 2, a ten-byte number, end.
const MAGIC: [u8; 15] = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];

/// Whether a file that begins with these bytes is one of PyTorch's, or another zip archive.
pub fn is_torch(start: &[u8]) -> bool {
    start.starts_with(b"PK\x03\x04") || start.starts_with(&MAGIC[..4])
}

/// Where the bytes of storages are.
pub(super) enum Container {
    /// Members `<folder>data/<name>` of an archive; the one that was read last is kept.
    Zip { archive: Box<ZipArchive<BufReader<File>>>, folder: String, last: Option<(String, Arc<Vec<u8>>)> },
    /// All of them, once their widths are known; before, the bytes that follow the object.
    Stream { rest: Vec<u8>, storages: BTreeMap<String, Arc<Vec<u8>>> },
}

impl Container {
    /// The container at `path`, and the pickle of its object.
    pub fn open(path: &Path) -> Result<(Self, Vec<u8>)> {
        let mut file = crate::regular::open(path)?;
        let mut start = Vec::new();
        (&mut file).take(MAGIC.len() as u64).read_to_end(&mut start).map_err(DataError::io(path, "read"))?;
        if start == MAGIC {
            let mut rest = Vec::new();
            file.read_to_end(&mut rest).map_err(DataError::io(path, "read"))?;
            return Self::stream(rest, path);
        }
        let wrong =
            |found: String, expected: &str| Origin(path).format(0, "the weight file", found, expected);
        if !start.starts_with(b"PK\x03\x04") {
            let foreign = crate::foreign::of_file(path).map_or("of another format".into(), |f| f.to_string());
            return Err(wrong(foreign, "a file of `torch.save`"));
        }
        let file = crate::regular::open(path)?;
        let mut archive = ZipArchive::new(BufReader::new(file))
            .map_err(|e| wrong(e.to_string(), "a sound zip archive; fetch the file again"))?;
        let names: Vec<String> = archive.file_names().flatten().map(String::from).collect();
        let object = names.iter().find(|n| *n == "data.pkl" || n.ends_with("/data.pkl"));
        let Some(object) = object.cloned() else {
            let some: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
            let found = format!("a zip archive of {} without `data.pkl`", some.join(", "));
            return Err(wrong(found, "a file of `torch.save`"));
        };
        let folder = object.trim_end_matches("data.pkl").to_string();
        let order = format!("{folder}byteorder");
        if names.contains(&order) && member(&mut archive, &order, path)? == b"big" {
            let reason = "save it again on a little-endian machine";
            return Err(Origin(path).unsupported(0, "big-endian order of bytes", reason));
        }
        let object = member(&mut archive, &object, path)?;
        Ok((Container::Zip { archive: Box::new(archive), folder, last: None }, object))
    }

    /// A version and the machine's description, then the object; the list of storages and their numbers follow.
    fn stream(bytes: Vec<u8>, path: &Path) -> Result<(Self, Vec<u8>)> {
        let mut at = 0;
        for item in ["version", "description of the machine"] {
            let (pickle, end) = Pickle::with_notes(&bytes[at..], path)?;
            at += end;
            let entry = pickle.get("little_endian").filter(|_| item != "version");
            if entry.is_some_and(|v| v.is_false()) {
                let reason = "save it again on a little-endian machine";
                return Err(Origin(path).unsupported(0, "big-endian order of bytes", reason));
            }
        }
        let (_, end) = Pickle::with_notes(&bytes[at..], path)?;
        let (object, rest) = bytes[at..].split_at(end);
        let storages = BTreeMap::new();
        Ok((Container::Stream { rest: rest.to_vec(), storages }, object.to_vec()))
    }

    /// Cuts the storages of a stream apart, now that tensors say how wide their numbers are.
    pub fn measure(&mut self, widths: &HashMap<String, Option<usize>>, path: &Path) -> Result<()> {
        let Container::Stream { rest, storages } = self else { return Ok(()) };
        let wrong = |found: String, expected: &str| Origin(path).format(0, "the storages", found, expected);
        let (list, end) = Pickle::with_notes(rest, path)?;
        let Node::List(names) = list.node(list.outermost()) else {
            return Err(wrong("without a list".into(), "a list of their names"));
        };
        let mut left = &rest[end..];
        for id in names {
            let name =
                list.text(*id).ok_or_else(|| wrong("of other names".into(), "names that are texts"))?;
            let (count, numbers) = left
                .split_first_chunk::<8>()
                .ok_or_else(|| wrong(format!("cut before storage {name}"), "a whole file"))?;
            let count = usize::try_from(u64::from_le_bytes(*count)).unwrap_or(usize::MAX);
            let width = widths.get(name).copied().flatten();
            let width = width.ok_or_else(|| {
                let found = format!("storage {name} of a type that is not known");
                wrong(
                    found,
                    "known types, since all that follows lies behind it; save the file in the newer format",
                )
            })?;
            let bytes = count.checked_mul(width).and_then(|n| numbers.split_at_checked(n));
            let Some((bytes, after)) = bytes else {
                let found = format!("{} bytes, ends inside storage {name} of {count} numbers", numbers.len());
                return Err(wrong(found, "a whole file; fetch it again"));
            };
            storages.insert(name.to_string(), Arc::new(bytes.to_vec()));
            left = after;
        }
        *rest = Vec::new();
        Ok(())
    }

    /// The bytes of a storage.
    pub fn storage(&mut self, name: &str, path: &Path) -> Result<Arc<Vec<u8>>> {
        match self {
            Container::Zip { archive, folder, last } => {
                if let Some((_, bytes)) = last.as_ref().filter(|(known, _)| known == name) {
                    return Ok(bytes.clone());
                }
                let bytes = Arc::new(member(archive, &format!("{folder}data/{name}"), path)?);
                *last = Some((name.to_string(), bytes.clone()));
                Ok(bytes)
            }
            Container::Stream { storages, .. } => storages.get(name).cloned().ok_or_else(|| {
                Origin(path).format(
                    0,
                    "the storages",
                    format!("without storage {name}"),
                    "all that tensors name",
                )
            }),
        }
    }
}

/// A member of an archive, against its checksum.
fn member(archive: &mut ZipArchive<BufReader<File>>, name: &str, path: &Path) -> Result<Vec<u8>> {
    let wrong = |e: String| {
        Origin(path).format(
            0,
            format!("the member {name}"),
            format!("unreadable ({e})"),
            "sound bytes; fetch the file again",
        )
    };
    let mut entry = archive.by_name(name).map_err(|e| wrong(e.to_string()))?;
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    Ok(bytes)
}
