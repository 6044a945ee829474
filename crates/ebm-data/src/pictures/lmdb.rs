//! LMDB databases of pictures, as LSUN is distributed: keys of any kind, values that are packed pictures (webp).
//!
//! Source: `mdb.c` of LMDB 0.9 (pages, nodes and meta pages; data version 1, little-endian, 64 bits). Only read, never
//! locked; the tree is walked once for the places of values, which lie in one piece in leaf or overflow pages.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::decode::{FolderOptions, Splits};
use super::index::{Packing, Pictures, Place};
use super::layout::Layout;
use crate::error::Origin;
use crate::sets::report::{Parts, Report};
use crate::split::{self, SplitName};
use crate::{DataError, Result};

/// Bytes before the first pointer of a page, and before a key in a node.
const PAGE_HEAD: usize = 16;
const NODE_HEAD: usize = 8;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const OVERFLOW: u16 = 4;
/// The value is in pages of its own; the value is a database, or there are several.
const BIG: u16 = 1;
const NESTED: u16 = 6;
/// A tree of more levels than 2⁶⁴ entries need.
const DEEPEST: usize = 64;

/// The pictures of databases, each in the order of its keys; a path is a database's folder or its file `data.mdb`. Of
/// several (LSUN's `bedroom_train_lmdb` and `bedroom_val_lmdb`), those whose names tell a held-out split are held out.
///
/// # Errors
/// If there is no database, it is of another version or damaged, or the first value is no picture.
pub fn parts(paths: &[impl AsRef<Path>], options: &FolderOptions) -> Result<Parts<Pictures>> {
    let (mut places, mut layout, mut report) = (Vec::new(), Layout::default(), Report::default());
    for (path, part) in paths.iter().zip(split::of_files(paths, options.splits != Splits::Ignored)) {
        let path = path.as_ref();
        if part == SplitName::Extra {
            report.leave("databases of a further split", path);
            continue;
        }
        let file = if path.is_dir() { path.join("data.mdb") } else { path.to_path_buf() };
        let found = Tree::open(&file)?.places(&mut report)?;
        if found.is_empty() {
            return Err(Origin(&file).format(0, "the LMDB database", "empty", "at least one picture"));
        }
        let held = part == SplitName::HeldOut;
        let rows = places.len()..places.len() + found.len();
        if held {
            layout.held_out.extend(rows)
        } else {
            layout.training.extend(rows)
        }
        let part = if held { &mut report.held_out } else { &mut report.training };
        part.push((file, found.len()));
        places.extend(found.into_iter().map(Some));
    }
    layout.labels = vec![None; places.len()];
    Pictures::parts(places, layout, report, options)
}

struct Tree<'a> {
    path: &'a Path,
    file: File,
    length: u64,
    page_size: u64,
    root: u64,
}

impl<'a> Tree<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let file = crate::regular::open(path)?;
        let length = file.metadata().map_err(DataError::io(path, "open"))?.len();
        let mut tree = Tree { path, file, length, page_size: 4096, root: u64::MAX };
        let wrong = |found: String, wanted: &str| Origin(path).format(0, "the LMDB database", found, wanted);
        let sound = "a sound data.mdb of LMDB 0.9, 64 bits, little-endian";
        // Two meta pages; the one of the later transaction holds.
        let first = tree.meta(0).map_err(|_| wrong(format!("{length} bytes"), sound))?;
        let Some(first) = first else {
            let foreign = crate::foreign::of_file(path).filter(|f| !f.what.contains("LMDB"));
            return Err(wrong(foreign.map_or("without its mark".into(), |f| f.to_string()), sound));
        };
        if first.version != 1
            || !first.page_size.is_power_of_two()
            || !(256..=65536).contains(&first.page_size)
        {
            return Err(wrong(format!("of version {}, pages of {}", first.version, first.page_size), sound));
        }
        tree.page_size = first.page_size;
        let second = tree.meta(tree.page_size).ok().flatten().filter(|m| m.version == 1);
        tree.root = second.filter(|m| m.transaction > first.transaction).map_or(first.root, |m| m.root);
        Ok(tree)
    }

    fn meta(&mut self, at: u64) -> Result<Option<Meta>> {
        let head = self.bytes(at, 152)?;
        let meta = &head[PAGE_HEAD..];
        Ok((u32_at(meta, 0) == Some(0xbeef_c0de)).then(|| Meta {
            version: u32_at(meta, 4).unwrap_or(0),
            page_size: u64::from(u32_at(meta, 24).unwrap_or(0)),
            root: u64_at(meta, 24 + 48 + 40).unwrap_or(u64::MAX),
            transaction: u64_at(meta, 24 + 96 + 8).unwrap_or(0),
        }))
    }

    fn bytes(&mut self, at: u64, len: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.file.seek(SeekFrom::Start(at)).map_err(DataError::io(self.path, "read"))?;
        (&self.file).take(len).read_to_end(&mut out).map_err(DataError::io(self.path, "read"))?;
        if (out.len() as u64) < len {
            let found = format!("{} bytes", out.len());
            return Err(Origin(self.path).format(at, "the LMDB database", found, format!("{len} bytes")));
        }
        Ok(out)
    }

    /// Places of all values, in the order of the keys.
    fn places(&mut self, report: &mut Report) -> Result<Vec<Place>> {
        let shared = Arc::<Path>::from(self.path);
        let mut places = Vec::new();
        if self.root == u64::MAX {
            return Ok(places);
        }
        let pages = self.length / self.page_size;
        // Pages left to visit, the next at the end, and how deep they are.
        let mut stack = vec![(self.root, 0usize)];
        let mut visited = 0;
        while let Some((page, depth)) = stack.pop() {
            visited += 1;
            let at = page.saturating_mul(self.page_size);
            let wrong = |item: &str, found: String| {
                Origin(self.path).format(at, item, found, "a sound LMDB database")
            };
            if visited > pages || depth > DEEPEST {
                return Err(wrong("the tree", "in a circle".into()));
            }
            let bytes = self.bytes(at, self.page_size)?;
            let damaged = || Origin(self.path).format(at, "a page", "damaged", "a sound LMDB database");
            let flags = u16_at(&bytes, 10).ok_or_else(damaged)?;
            let nodes = usize::from(u16_at(&bytes, 12).ok_or_else(damaged)?);
            let nodes = nodes.checked_sub(PAGE_HEAD).ok_or_else(damaged)? / 2;
            // Nodes do not overlap: what they hold together fits into the page.
            let (mut children, mut used) = (Vec::new(), PAGE_HEAD as u64);
            for i in 0..nodes {
                let start = usize::from(u16_at(&bytes, PAGE_HEAD + 2 * i).ok_or_else(damaged)?);
                let node = bytes.get(start..).ok_or_else(damaged)?;
                let [low, high, node_flags, key_len] =
                    [0, 2, 4, 6].map(|o| u16_at(node, o).unwrap_or(u16::MAX)).map(u64::from);
                used += NODE_HEAD as u64 + key_len;
                if used > self.page_size {
                    return Err(damaged());
                }
                if flags & BRANCH != 0 {
                    children.push((low | high << 16 | node_flags << 32, depth + 1));
                    continue;
                }
                if flags & LEAF == 0 {
                    return Err(damaged());
                }
                let key = node.get(NODE_HEAD..NODE_HEAD + key_len as usize).ok_or_else(damaged)?;
                let name: Box<str> = key.escape_ascii().to_string().into();
                let (len, node_flags) = (low | high << 16, node_flags as u16);
                if node_flags & NESTED != 0 {
                    report.leave("nested databases", &self.path.join(&*name));
                    continue;
                }
                let value = NODE_HEAD + key_len as usize;
                let from = match node_flags & BIG {
                    0 => at + (start + value) as u64,
                    _ => {
                        let first = u64_at(node, value).ok_or_else(damaged)?;
                        let start = first.checked_mul(self.page_size).ok_or_else(damaged)?;
                        let head = self.bytes(start, PAGE_HEAD as u64)?;
                        if u16_at(&head, 10).is_none_or(|f| f & OVERFLOW == 0) {
                            return Err(damaged());
                        }
                        start + PAGE_HEAD as u64
                    }
                };
                if from.checked_add(len).is_none_or(|end| end > self.length) {
                    return Err(damaged());
                }
                places.push(Place::Range {
                    file: shared.clone(),
                    name,
                    at: from,
                    len,
                    packing: Packing::None,
                });
            }
            stack.extend(children.into_iter().rev());
        }
        Ok(places)
    }
}

struct Meta {
    version: u32,
    page_size: u64,
    root: u64,
    transaction: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}

/// Whether a folder holds a database.
pub fn is_database(folder: &Path) -> bool {
    folder.join("data.mdb").is_file()
}

/// The databases in the folders of a set, such as LSUN's `bedroom_train_lmdb` and `bedroom_val_lmdb`.
pub fn databases(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| is_database(p)).collect();
    found.sort();
    found
}
