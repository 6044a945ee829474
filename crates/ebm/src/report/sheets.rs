//! The pictures of a run directory, as data URIs for one page.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use ebm_data::folder::FolderOptions;
use serde::Serialize;

use crate::error::{Error, Result};

/// Pictures of one kind over the steps.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sheets {
    /// `samples`, `buffer`.
    pub kind: String,
    /// In the order of their steps.
    pub pictures: Vec<Picture>,
}

/// One picture.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Picture {
    /// After this update.
    pub step: u64,
    /// As a `data:` URI.
    pub data: String,
}

/// The pictures below `directory/sheets`, evenly thinned to about `bytes` for each kind; the last is always there. One that
/// cannot be decoded is left out with a note.
pub(super) fn read(directory: &Path, bytes: u64, notes: &mut Vec<String>) -> Result<Vec<Sheets>> {
    let mut files: BTreeMap<String, BTreeMap<u64, PathBuf>> = BTreeMap::new();
    let folder = directory.join("sheets");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(&folder)(e)),
    };
    for entry in entries {
        let path = entry.map_err(Error::io(&folder))?.path();
        // sheets/samples-00001000.png
        let named = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_suffix(".png"))
            .and_then(|n| n.rsplit_once('-'))
            .and_then(|(kind, step)| Some((kind.to_string(), step.parse().ok()?)));
        if let Some((kind, step)) = named {
            files.entry(kind).or_default().insert(step, path);
        }
    }
    files
        .into_iter()
        .map(|(kind, files)| {
            let files: Vec<(u64, PathBuf)> = files.into_iter().collect();
            let size: u64 = files.iter().filter_map(|(_, p)| p.metadata().ok()).map(|m| m.len()).sum();
            let keep = (files.len() as u64 * bytes / size.max(1)).clamp(2, 1 << 20) as usize;
            let pictures = thinned(files.len(), keep)
                .filter_map(|i| Some(Picture { step: files[i].0, data: uri(&files[i].1, notes)? }))
                .collect();
            Ok(Sheets { kind, pictures })
        })
        .collect()
}

/// A picture as a `data:` URI; one that cannot be decoded is left out with a note.
pub(super) fn uri(path: &Path, notes: &mut Vec<String>) -> Option<String> {
    let read = ebm_data::folder::read_picture(path, &FolderOptions::default())
        .map_err(Error::from)
        .and_then(|_| std::fs::read(path).map_err(Error::io(path)));
    match read {
        Ok(bytes) => {
            let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
            Some(format!("data:image/png;base64,{text}"))
        }
        Err(e) => {
            notes.push(format!("Left out: {e}."));
            None
        }
    }
}

/// Up to `keep` of `n` numbers, evenly spaced, with the first and the last.
fn thinned(n: usize, keep: usize) -> impl Iterator<Item = usize> {
    let kept = keep.max(2).min(n);
    (0..kept).map(move |i| if kept < 2 { 0 } else { i * (n - 1) / (kept - 1) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pictures_are_thinned_evenly_and_keep_their_ends() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sheets")).unwrap();
        let picture = ebm_data::png::Sheet::default().encode(&[0.5; 4], (1, 1, 2, 2)).unwrap();
        let file = |step: u64| folder.path().join(format!("sheets/samples-{step:08}.png"));
        (0..10).for_each(|step| std::fs::write(file(step), &picture).unwrap());
        std::fs::write(folder.path().join("sheets/notes.txt"), "mine").unwrap();
        let mut notes = Vec::new();
        let mut steps = |pictures: usize| -> Vec<u64> {
            let bytes = (pictures * picture.len()) as u64;
            read(folder.path(), bytes, &mut notes).unwrap()[0].pictures.iter().map(|p| p.step).collect()
        };
        assert_eq!(steps(100), (0..10).collect::<Vec<_>>());
        assert_eq!(steps(4), [0, 3, 6, 9]);
        assert_eq!(steps(0), [0, 9]);
        // One that was cut is not shown as if it were whole.
        std::fs::write(file(9), &picture[..picture.len() / 2]).unwrap();
        assert_eq!(steps(0), [0]);
        assert!(notes.len() == 1 && notes[0].contains("samples-00000009.png"), "{notes:?}");
        assert_eq!(thinned(1, 5).collect::<Vec<_>>(), [0]);
        assert_eq!(thinned(0, 5).count(), 0);
    }
}
